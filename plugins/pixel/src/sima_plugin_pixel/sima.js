/*
 * Sima's pixel: page views with the time spent on them, and what the page itself reports.
 *
 *   <script async src="https://collector.example/in/web/sima.js" data-key="..."></script>
 *   <script>
 *     window.sima = window.sima || [];
 *     sima.push(["track", "product_viewed", { sku: "RUN-101", price: 119 }]);
 *     sima.push(["identify", { user_id: "42", email: "ada@example.com" }, { first_name: "Ada" }]);
 *     sima.push(["consent", "email_marketing", true]);
 *   </script>
 *
 * Attributes of the script: data-key (the source's write key), data-cookie-domain (to know a visitor on all subdomains),
 * data-manual (no page view by itself). <meta name="sima:category" content="running"> gives a page view a property.
 *
 * It loads nothing, and stores nothing but two first-party cookies that last a year: sima_id, a random id that each visit
 * renews, and after `identify` sima_user, the user_id. `reset` deletes both. For visitors who ask not to be tracked (Do Not
 * Track, Global Privacy Control) it sends nothing, and deletes what it stored before they asked.
 *
 * What a collector that is busy or out of reach does not take is sent again, for some minutes and while the page is open.
 */
(function (window, document, navigator) {
  "use strict";

  var ID = "sima_id";
  var USER = "sima_user";
  var YEAR_S = 365 * 24 * 3600;
  var FLUSH_MS = 5000;
  var MOST_ITEMS = 20;
  var MOST_TRIES = 8; // within eleven minutes
  var KEPT_ALIVE_BYTES = 64 * 1024; // so much may a page leave behind when it is left
  var CAMPAIGN = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];

  var script = document.currentScript || document.querySelector("script[src*='sima.js']");
  var waiting = Array.isArray(window.sima) ? window.sima : [];
  var queue = []; // items as JSON
  var unsent = new Map(); // bodies that the collector did not take, each with the number of its next try
  var timer = null;
  var view = null;

  // --- who is it ---------------------------------------------------------------------------------------------------

  function refusesTracking() {
    return navigator.doNotTrack === "1" || window.doNotTrack === "1" || navigator.globalPrivacyControl === true;
  }

  function readStored(name) {
    var found = document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)"));
    try {
      return found ? decodeURIComponent(found[1]) : null;
    } catch (error) {
      return null; // somebody else wrote it
    }
  }

  // Cookies only: they expire, and who deletes them has deleted all.
  function store(name, value) {
    var domain = script.getAttribute("data-cookie-domain");
    document.cookie =
      name + "=" + encodeURIComponent(value || "") + "; path=/; max-age=" + (value ? YEAR_S : 0) + "; samesite=lax" +
      (domain ? "; domain=" + domain : "") + (window.location.protocol === "https:" ? "; secure" : "");
  }

  function newId() {
    if (window.crypto.randomUUID) return window.crypto.randomUUID();
    return Array.from(window.crypto.getRandomValues(new Uint8Array(16)), function (byte) {
      return (byte + 256).toString(16).slice(1);
    }).join("");
  }

  function anonymousId() {
    var id = readStored(ID) || newId();
    store(ID, id); // each visit makes it last for another year
    return id;
  }

  // --- sending -----------------------------------------------------------------------------------------------------

  function address() {
    var key = script.getAttribute("data-key");
    return script.src.replace(/sima\.js.*$/, "events") + (key ? "?key=" + encodeURIComponent(key) : "");
  }

  function flush() {
    window.clearTimeout(timer);
    timer = null;
    if (!queue.length) return;
    var batch = queue;
    queue = [];
    send('{"anonymous_id":' + JSON.stringify(anonymousId()) + ',"batch":[' + batch.join(",") + "]}", 1);
  }

  // A text is sent without a preflight request. A beacon outlives the page as well, but nobody learns what became of it,
  // so it is only for browsers whose fetch does not: Firefox before 133.
  function send(body, number) {
    unsent.delete(body);
    if (!("keepalive" in window.Request.prototype) && navigator.sendBeacon(address(), body)) return;
    var short = body.length * 3 < KEPT_ALIVE_BYTES; // in any alphabet
    window.fetch(address(), { method: "POST", body: body, keepalive: short, credentials: "omit" }).then(
      function (answer) {
        if (answer.status >= 500) sendLater(body, number + 1);
      },
      function () {
        sendLater(body, number + 1);
      }
    );
  }

  // A busy or unreachable collector gets the same later, with the same ids, so that nothing is counted twice.
  function sendLater(body, number) {
    if (number > MOST_TRIES) return window.console.warn("sima: events are lost, for the collector does not take them");
    unsent.set(body, number);
    window.setTimeout(function () {
      if (unsent.get(body) === number) send(body, number);
    }, FLUSH_MS * Math.pow(2, number - 2));
  }

  function add(item) {
    var user = readStored(USER);
    item.id = newId();
    item.at = item.at || new Date().toISOString();
    if (user) item.identifiers = Object.assign({ user_id: user }, item.identifiers);
    try {
      queue.push(JSON.stringify(item)); // now, so that what cannot be written fails alone, and nothing changes any more
    } catch (error) {
      return ignore(error);
    }
    if (queue.length >= MOST_ITEMS) flush();
    else if (!timer) timer = window.setTimeout(flush, FLUSH_MS);
  }

  function ignore(error) {
    window.console.warn("sima: a call is ignored, for it cannot be read", error);
  }

  // --- page views --------------------------------------------------------------------------------------------------

  function pageProperties() {
    var properties = {
      url: window.location.origin + window.location.pathname, // a query may hold what is nobody's business
      path: window.location.pathname,
      title: document.title,
      referrer: document.referrer.split("?")[0] || undefined,
    };
    var query = new URLSearchParams(window.location.search);
    CAMPAIGN.forEach(function (name) {
      if (query.get(name)) properties[name] = query.get(name);
    });
    document.querySelectorAll("meta[name^='sima:']").forEach(function (meta) {
      properties[meta.name.slice("sima:".length)] = meta.content;
    });
    return properties;
  }

  function begin(name, properties) {
    var visible = document.visibilityState === "visible";
    view = { name: name, properties: properties, at: new Date().toISOString(), since: visible ? Date.now() : null };
  }

  // The time on a page is known only when it is left, so only then is the view sent.
  function end() {
    if (!view || view.left) return;
    view.left = true;
    var seconds = view.since === null ? 0 : (Date.now() - view.since) / 1000;
    add({ name: view.name, at: view.at, properties: Object.assign({}, view.properties, { duration_s: seconds }) });
  }

  function onHidden() {
    end();
    flush();
    unsent.forEach(function (number, body) {
      send(body, number);
    });
  }

  function onVisible() {
    if (!view) return;
    // Who comes back to a tab goes on with the same view: its further time is not another view.
    if (view.left) begin("page_view_continued", view.properties);
    else if (view.since === null) view.since = Date.now();
  }

  // --- what a page may call ----------------------------------------------------------------------------------------

  var calls = {
    page: function (properties) {
      end();
      begin("page_viewed", Object.assign(pageProperties(), properties));
    },
    track: function (name, properties) {
      add({ name: name, properties: properties || {} });
    },
    identify: function (identifiers, traits) {
      if (identifiers.user_id) store(USER, String(identifiers.user_id));
      add({ identifiers: identifiers, traits: traits || {} });
      flush();
    },
    consent: function (purpose, granted) {
      var consents = {};
      consents[purpose] = granted;
      add({ consents: consents });
      flush();
    },
    reset: function () {
      end(); // what was looked at until now belongs to who signs out
      flush();
      store(USER, null);
      store(ID, null);
      if (view) begin("page_viewed", view.properties);
    },
  };

  // A page is never broken by what it reports, and one bad call takes no other along.
  function push(call) {
    try {
      if (calls[call[0]] && !refusesTracking()) calls[call[0]].apply(null, call.slice(1));
    } catch (error) {
      ignore(error);
    }
  }

  var sima = { push: push };
  Object.keys(calls).forEach(function (name) {
    sima[name] = function () {
      push([name].concat(Array.from(arguments)));
    };
  });
  window.sima = sima;

  if (refusesTracking()) {
    store(ID, null);
    store(USER, null);
    return;
  }
  document.addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") onHidden();
    else onVisible();
  });
  window.addEventListener("pagehide", onHidden);
  window.addEventListener("pageshow", function (event) {
    if (event.persisted) onVisible(); // back from the browser's cache of pages
  });
  if (!script.hasAttribute("data-manual")) sima.page();
  waiting.forEach(push);
})(window, document, navigator);
