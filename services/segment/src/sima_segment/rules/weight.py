"""How large a condition becomes when it is compiled."""

from sima_segment.rules.tree import (
    Aggregate,
    Arithmetic,
    Choice,
    Compare,
    Node,
    OneOf,
    TextTest,
    children,
    divides_by_data,
    of_data,
)


def weight(node: Node) -> int:
    """Return about how many parts a condition has in SQL.

    A `? :` whose type the data decides is compared branch by branch, and a divisor is written twice, to see that it is
    not zero. So it can be exponential in the length of the rule, and has to be known before anything is compiled.
    """
    match node:
        case Compare(_, left, right) | TextTest(_, left, right):
            return 1 + weight(left) * _branches(right) + weight(right) * _branches(left)
        case OneOf(value):
            return weight(value) + _branches(value)
        case Arithmetic(_, left, right) if divides_by_data(node):
            return 2 + weight(left) + 2 * weight(right)
        case Aggregate(_, events):
            return 1 + (weight(events.condition) if events.condition is not None else 0)
        case _:
            return 1 + sum(weight(each) for each in children(node))


def _branches(node: Node) -> int:
    if isinstance(node, Choice) and of_data(node):
        return _branches(node.then) + _branches(node.otherwise)
    return 1
