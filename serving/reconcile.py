"""From what a managed server is to serve and what it says it serves: what to send it now, and what is not as it should be.

Pure. A server's status is the only proof there is: nothing is remembered of earlier reloads but when the last one was sent.
"""

from dataclasses import dataclass

from serving import wire
from serving.fleet import Sight, Statuses, available

# The server looks at a new config up to 1 s after it took it (its poll); by then it is loading or unloading.
_AGAIN_FIRST_S = 3.0
# What does not come right is told anew this often: a version that is put on the disk late is loaded within a minute.
_AGAIN_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What was sent to a replica last, when (in seconds on the clock of `now`), and how often in a row in vain."""

    sent: bytes = b""
    sent_at: float = float("-inf")
    tries: int = 0

    def is_due(self, body: bytes, now: float) -> bool:
        """Whether this config may be sent now: another one at once, the same one after ever longer pauses."""
        pause_s = min(_AGAIN_MAX_S, _AGAIN_FIRST_S * 2.0 ** max(0, self.tries - 1))
        return body != self.sent or now - self.sent_at >= pause_s

    def after(self, body: bytes, now: float) -> "Pace":
        """Return the pace after this config was sent."""
        return Pace(body, now, self.tries + 1)


def drift(wanted: wire.Message, sight: Sight) -> tuple[str, ...]:
    """Say in words what is not as the config wants it, empty when all is; what is being loaded is no drift."""
    words: list[str] = []
    for entry in wanted.model_config_list.config:
        statuses = sight.of(entry.name)
        ready = available(statuses)
        if entry.model_version_policy.WhichOneof("policy_choice") == "specific":
            listed = entry.model_version_policy.specific.versions
            words += [f"{entry.name}/{one} {said}" for one in listed if (said := _missing(statuses, one))]
            words += [f"{entry.name}/{one} is loaded, and is not to be" for one in sorted(ready.difference(listed))]
        elif not ready and not any(one.state in (wire.START, wire.LOADING) for one in statuses.values()):
            words.append(f"no version of {entry.name} is loaded")
        leads = sight.labels.get(entry.name, {})
        for label, to in sorted(entry.version_labels.items()):
            if to in ready and leads.get(label) != to:
                words.append(f"label {label} of {entry.name} leads to {leads.get(label, 'nothing')}, not to {to}")
        words += [f"label {one} of {entry.name} is not to be" for one in sorted(set(leads) - set(entry.version_labels))]
    return tuple(words)


def next_config(wanted: wire.Message, sight: Sight) -> wire.Message:
    """Return the config to send to a replica that has drifted: what is wanted, as far as the server takes it now.

    It refuses a whole config for a label to a version that is not AVAILABLE, so such a label stays where it is until
    then. A version to which a label still leads stays loaded for one more step: first the label is moved.
    """
    config = wire.ModelServerConfig()
    config.CopyFrom(wanted)
    for entry in config.model_config_list.config:
        ready = available(sight.of(entry.name))
        leads = sight.labels.get(entry.name, {})
        if entry.model_version_policy.WhichOneof("policy_choice") == "specific":
            listed = entry.model_version_policy.specific.versions
            listed.extend(sorted(set(leads.values()).intersection(ready).difference(listed)))
        for label, to in list(entry.version_labels.items()):
            if to in ready:
                continue
            if leads.get(label) in ready:
                entry.version_labels[label] = leads[label]
            else:
                del entry.version_labels[label]
    return config


def encoded(config: wire.Message) -> bytes:
    """Serialise a config, equal ones to equal bytes."""
    return bytes(config.SerializeToString(deterministic=True))


def without_failed(config: wire.Message, sight: Sight) -> wire.Message:
    """Return a config without the versions whose load failed, where others of their model are left.

    A server tries a version again only when it was unwanted in between.
    """
    fewer = wire.ModelServerConfig()
    fewer.CopyFrom(config)
    for entry in fewer.model_config_list.config:
        statuses = sight.of(entry.name)
        listed = list(entry.model_version_policy.specific.versions)
        kept = [one for one in listed if not (one in statuses and statuses[one].has_failed)]
        if kept and kept != listed:
            entry.model_version_policy.specific.versions[:] = kept
    return fewer


def _missing(statuses: Statuses, version: int) -> str:
    """Say what keeps a wanted version from serving, empty when it serves or is about to."""
    if version not in statuses:
        return "is not listed"
    found = statuses[version]
    if found.has_failed:
        return f"could not be loaded: {found.error}"
    is_right = found.state in (wire.AVAILABLE, wire.START, wire.LOADING)
    return "" if is_right else f"is {wire.STATE_NAMES.get(found.state, found.state)}, and is to be loaded"
