"""What people's orders to an experiment as a whole change, and why each is refused; orders to arms are in `bandits.orders`."""

from dataclasses import replace

from bandits import orders
from bandits.course import Course
from bandits.life import ArmLife, Drain, Life, Note, Phase, Promote, Restore, Retire
from bandits.operation import AddArms, Archive, Bypass, DropArm, Operation, Pause, Resume, Rollback, Start, Stop

Directed = Operation | Drain | Restore | Retire | Promote
"""All that a person can order."""

RUNNING: tuple[Phase, ...] = ("warmup", "running", "confirming", "draining")
OPEN: tuple[Phase, ...] = ("warmup", "running", "confirming")


def inner_phase(life: Life) -> Phase:
    """Return the phase, of a paused experiment the one it goes back to."""
    return life.resumes if life.phase == "paused" and life.resumes is not None else life.phase


def refusal(life: Life, order: Directed) -> str:
    """Return why an order can't be obeyed now, empty when it can. ValueError for an arm that does not exist."""
    phase = inner_phase(life)
    match order:
        case Drain() | Restore() | Retire() | Promote():
            return orders.refusal(life, order)
        case Start():
            return _unless(life.phase == "draft", life, "only a draft can be started")
        case Pause():
            return _unless(life.phase in RUNNING, life, "only what runs can be paused")
        case Resume():
            return _unless(life.phase == "paused" or life.is_bypassed, life, "it is neither paused nor bypassed")
        case Bypass():
            return _unless(phase in (*RUNNING, "concluded"), life, "there is nothing to bypass")
        case Stop():
            return _unless(phase in OPEN, life, "only what is undecided can be stopped")
        case Rollback():
            if order.arm is not None and phase in OPEN:
                return f"the experiment is {life.phase}: before the end it is control that a rollback makes serve"
            return orders.refusal(life, _promotion(life, order))
        case Archive():
            moving = _moving(life)
            if life.phase == "concluded" and moving:
                return f"arms are still on their way: {', '.join(moving)}"
            return _unless(life.phase == "concluded", life, "only what is concluded can be archived: stop it first")
        case AddArms():
            return _unless(phase in OPEN, life, "arms can join only while it is undecided")
        case DropArm():
            if order.arm == life.control:
                return f"{life.arms[order.arm].name} is control: without it nothing compares"
            return _unless(phase in OPEN, life, "arms can be dropped only while it is undecided")


def _promotion(life: Life, order: Rollback) -> Promote:
    return Promote(order.now, life.control if order.arm is None else order.arm, order.who)


def _moving(life: Life) -> list[str]:
    """Return the arms that something is still to be done with; when an observed server unloads is not ours to wait for."""
    return [
        arm.name
        for number, arm in enumerate(life.arms)
        if arm.state in ("warming", "draining") or (arm.is_unloading and number not in life.rules.observed)
    ]


def _unless(is_fit: bool, life: Life, why: str) -> str:
    return "" if is_fit else f"the experiment is {life.phase}: {why}"


def obey(course: Course, order: Operation) -> None:
    """Do what is ordered; an order that does not fit the state changes nothing."""
    if refusal(course.life, order):
        return
    who = order.who or "an operator"
    match order:
        case Start():
            course.start(order)
        case Pause():
            course.pause(order)
        case Resume():
            _end_bypass(course, who)
            course.resume(order)
        case Bypass():
            _bypass(course, who)
        case Stop():
            _stop(course, order, who)
        case Rollback():
            orders.obey(course, replace(_promotion(course.life, order), who=f"{who}, who rolled back"))
        case Archive():
            course.enter("archived", f"archived by {who}")
        case AddArms():
            _add(course, order.names, f"added by {who}")
        case DropArm():
            if course.life.arms[order.arm].state in ("warming", "eligible", "quarantined"):
                course.send_away(order.arm, f"dropped by {who}")
    course.look_around()


def _bypass(course: Course, who: str) -> None:
    if course.life.phase in RUNNING:
        course.life = replace(course.life, resumes=course.life.phase)
        course.enter("paused", f"bypassed by {who}")
    if not course.life.is_bypassed:
        why = f"bypassed by {who}"
        course.notes.append(Note(course.now, "traffic", "", "bypassed", why))
        course.life = replace(course.life, is_bypassed=True, reason=why)


def _end_bypass(course: Course, who: str) -> None:
    if course.life.is_bypassed:
        why = f"resumed by {who}"
        course.notes.append(Note(course.now, "traffic", "bypassed", "", why))
        course.life = replace(course.life, is_bypassed=False, reason=why)


def _stop(course: Course, order: Stop, who: str) -> None:
    weights = order.weights or course.life.weights
    course.life = replace(course.life, outcome="undecided", weights=weights, successor=None, resumes=None)
    course.enter("concluded", f"stopped by {who}")
    for number, arm in enumerate(course.life.arms):
        if arm.state == "warming":
            course.move(number, "quarantined", "stopped before it was warm")


def _add(course: Course, names: tuple[str, ...], why: str) -> None:
    known = {arm.name: number for number, arm in enumerate(course.life.arms)}
    new = tuple(name for name in names if name not in known)
    life = course.life
    weights = None if life.weights is None else (*life.weights, *(0.0 for _ in new))
    course.life = replace(
        life,
        arms=(*life.arms, *(ArmLife(name) for name in new)),
        weights=weights,
        segment_weights=tuple((*row, *(0.0 for _ in new)) for row in life.segment_weights),
    )
    for number in range(len(life.arms), len(course.life.arms)):
        course.move(number, "warming", why)
    for name in names:
        if name in known:
            orders.bring_back(course, known[name], why)
