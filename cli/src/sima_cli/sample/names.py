"""Names of the sample's people, each as written at home and as written in Latin letters."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """One word of a name.

    Attributes:
        native: As its bearer writes it.
        latin: As an e-mail address or a cashier abroad writes it; ASCII only.
    """

    native: str
    latin: str


@dataclass(frozen=True, slots=True)
class NameBook:
    """The given and the family names of one place."""

    given: tuple[Name, ...]
    family: tuple[Name, ...]


def _names(text: str) -> tuple[Name, ...]:
    return tuple(Name(*pair.split("=")) for pair in text.split())


ARABIC = NameBook(
    given=_names(
        "محمد=mohammed فاطمة=fatima أحمد=ahmed نورة=noura خالد=khalid سارة=sara عبدالله=abdullah ريم=reem "
        "سلطان=sultan هند=hind يوسف=yousef لطيفة=latifa فيصل=faisal منى=mona ماجد=majed أمل=amal تركي=turki "
        "جواهر=jawaher ناصر=nasser ليلى=layla بدر=badr هيا=haya راشد=rashed دانة=dana"
    ),
    family=_names(
        "القحطاني=alqahtani العتيبي=alotaibi الدوسري=aldosari الغامدي=alghamdi الحربي=alharbi الشهري=alshehri "
        "الزهراني=alzahrani المطيري=almutairi العنزي=alanazi السبيعي=alsubaie الشمري=alshammari البقمي=albogami "
        "العمري=alomari الأحمدي=alahmadi الجهني=aljuhani السالم=alsalem الراجحي=alrajhi الفهد=alfahad "
        "التميمي=altamimi الخالدي=alkhaldi"
    ),
)

PERSIAN = NameBook(
    given=_names(
        "زهرا=zahra علی=ali مریم=maryam رضا=reza شیرین=shirin کاوه=kaveh پریسا=parisa آرش=arash نگار=negar "
        "بهرام=bahram لاله=laleh سیامک=siamak گلناز=golnaz فرهاد=farhad یاسمن=yasaman کیان=kian مهسا=mahsa "
        "داریوش=dariush ژاله=zhaleh پویا=pouya نسرین=nasrin امید=omid ستاره=setareh بابک=babak"
    ),
    family=_names(
        "کریمی=karimi حسینی=hosseini رضایی=rezaei محمدی=mohammadi احمدی=ahmadi صادقی=sadeghi نوری=nouri "
        "یزدانی=yazdani شیرازی=shirazi کاشانی=kashani تهرانی=tehrani موسوی=mousavi قاسمی=ghasemi پارسا=parsa "
        "گلستانی=golestani جعفری=jafari مرادی=moradi رستمی=rostami بهشتی=beheshti فرهادی=farhadi"
    ),
)

LATIN = NameBook(
    given=_names(
        "Jürgen=juergen Zoë=zoe Anna=anna Lukas=lukas Mehmet=mehmet Sofía=sofia Björn=bjoern Ayşe=ayse Paul=paul "
        "Käthe=kaethe Emil=emil Chloé=chloe Jonas=jonas Mia=mia Łukasz=lukasz Hannah=hannah Felix=felix Inês=ines "
        "Oskar=oskar Greta=greta Noah=noah Leonie=leonie Émile=emile Frieda=frieda"
    ),
    family=_names(
        "Müller=mueller Schmidt=schmidt Yılmaz=yilmaz Weiß=weiss Nowak=nowak García=garcia Schröder=schroeder "
        "Fischer=fischer Öztürk=oeztuerk Becker=becker Krüger=krueger Hoffmann=hoffmann Nguyễn=nguyen Wolf=wolf "
        "Jäger=jaeger Lefèvre=lefevre Kowalski=kowalski Vogel=vogel Sørensen=soerensen Braun=braun"
    ),
)
