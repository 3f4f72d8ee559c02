"""What operators order of arms: drain, restore, retire, promote; and the words in which an order is refused."""

from dataclasses import replace

from bandits.course import Course
from bandits.life import ArmState, Drain, Life, Order, Promote, Restore, Retire

# While nothing is decided yet there is nothing to take out or to bring back; a paused experiment is resumed first.
_PHASES = ("running", "confirming", "draining", "concluded")


def refusal(life: Life, order: Order) -> str:
    """Return why an order can't be obeyed now, empty when it can: what a caller is told with a conflict."""
    if life.phase not in _PHASES:
        return f"the experiment is {life.phase}; arms can be ordered about while it is {', '.join(_PHASES)}"
    arm = life.arms[order.arm]
    possible: tuple[ArmState, ...]
    match order:
        case Promote():
            if life.winner == order.arm and (life.is_promoted or life.rules.action != "notify"):
                return f"{arm.name} serves already"
            return f"{arm.name} is being promoted already" if life.successor == order.arm else ""
        case Restore():
            possible = ("draining", "standby", "retired", "quarantined")
        case Drain():
            possible = ("warming", "eligible", "quarantined")
        case _:
            possible = ("warming", "eligible", "quarantined", "draining", "standby")
    if arm.state not in possible:
        return f"{arm.name} is {arm.state}; it must be {' or '.join(possible)}"
    if not isinstance(order, Restore):
        if life.winner == order.arm:
            return f"{arm.name} serves all traffic; promote another arm first"
        if life.winner is None and order.arm == life.control:
            return f"{arm.name} is control, and serves whenever no other arm can; promote another arm first"
    return ""


def obey(course: Course, order: Order) -> None:
    """Apply an order; one that would be refused changes nothing."""
    if refusal(course.life, order):
        return
    who = order.who or "an operator"
    match order:
        case Drain():
            course.send_away(order.arm, f"taken out by {who}")
        case Retire():
            _retire(course, order.arm, who)
        case Restore():
            bring_back(course, order.arm, f"restored by {who}")
        case Promote():
            _promote(course, order.arm, who)
    course.look_around()


def _retire(course: Course, number: int, who: str) -> None:
    arm = course.life.arms[number]
    if arm.state == "standby":
        course.put(number, replace(arm, is_unloading=True, is_parked=False))
        return
    if arm.state != "draining":
        course.send_away(number, f"retired by {who}")
    # Carried over into standby: there it is unloaded without its grace.
    course.put(number, replace(course.life.arms[number], is_unloading=True, is_parked=False))


def bring_back(course: Course, number: int, why: str) -> None:
    """Make an arm eligible that is loaded, and warm any other; the model server lets go of it, or has done so."""
    arm = course.life.arms[number]
    is_loaded = arm.state == "eligible" or (arm.state in ("draining", "standby") and not arm.is_unloading)
    course.put(number, replace(arm, is_unloading=False, is_parked=False))
    if arm.state not in ("eligible", "warming"):
        course.move(number, "eligible" if is_loaded else "warming", why)


def _promote(course: Course, number: int, who: str) -> None:
    bring_back(course, number, f"promoted by {who}")
    if course.life.arms[number].state == "eligible":
        course.crown(number, f"promoted by {who}")
    else:
        course.life = replace(course.life, successor=number)
