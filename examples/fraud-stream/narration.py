"""Words for what happened: times, money, decisions and evidence, as lines that a person reads.

It reads the server's JSON leniently: what is absent is left out. It decides nothing.
"""


def clock(hours):
    """Hours from the start as day and time."""
    minutes = int(hours * 60)
    return f"day {minutes // 1440 + 1} {minutes // 60 % 24:02}:{minutes % 60:02}"


def money(value):
    sign = "-" if round(value) < 0 else ""
    return f"{sign}${abs(round(value)):,}"


def number(value):
    """A number of any size; a dash where there is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value != value:
        return "-"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}".rstrip("0").rstrip(".")


def revision_of(role):
    """A revision's name from a role, which is an object or the name itself."""
    if isinstance(role, dict):
        role = role.get("revision")
    return None if role is None else str(role)


def metric(role, name):
    """A metric of a role by its name, from a list of {name, value} or an object."""
    metrics = role.get("metrics") if isinstance(role, dict) else None
    if isinstance(metrics, list):
        metrics = {entry.get("name"): entry for entry in metrics}
    value = (metrics or {}).get(name)
    return value.get("value") if isinstance(value, dict) else value


def finding(one):
    """A gate's estimate, interval, evidence and verdict."""
    words = f"{one.get('measure', 'gate')} {number(one.get('estimate'))}"
    if one.get("lower") is not None or one.get("upper") is not None:
        words += f" ({number(one.get('lower'))} to {number(one.get('upper'))})"
    if one.get("e_value") is not None:
        words += f", e-value {number(one['e_value'])}"
    if one.get("threshold") is not None:
        words += f" of {number(one['threshold'])}"
    if one.get("verdict") is not None:
        words += f", {one['verdict']}"
    return words


def findings_of(thing):
    """The findings of a challenger or of a decision's evidence."""
    if not isinstance(thing, dict):
        return []
    found = thing.get("findings") or thing.get("gates") or []
    return [one for one in found if isinstance(one, dict)]


def labels_of(thing):
    """How many labels something was decided on."""
    if not isinstance(thing, dict):
        return None
    if thing.get("labels") is not None:
        return thing["labels"]
    return max((one.get("count") or 0 for one in findings_of(thing)), default=None)


def challenger_line(challenger):
    """A challenger at a glance: stage, labels, its first gate, why it waits."""
    parts = [f"challenger {revision_of(challenger)} in {challenger.get('stage', 'shadow')}"]
    if labels_of(challenger) is not None:
        parts.append(f"{number(labels_of(challenger))} labels")
    parts += [finding(one) for one in findings_of(challenger)[:1]]
    if not findings_of(challenger):
        parts += [str(reason) for reason in challenger.get("reasons", [])[:1]]
    return "; ".join(parts)


def decision_lines(entry):
    """A decision, from and to, its reasons and its evidence."""
    head = str(entry.get("decision", "decision")).upper()
    ends = [place(entry.get("from")), place(entry.get("to"))]
    if any(ends):
        head += f": {ends[0] or '-'} -> {ends[1] or '-'}"
    reasons = entry.get("reasons") or entry.get("reason") or []
    lines = [head, *([reasons] if isinstance(reasons, str) else map(str, reasons))]
    evidence = entry.get("evidence")
    if labels_of(evidence) is not None:
        lines.append(f"on {number(labels_of(evidence))} labels")
    return lines + [finding(one) for one in findings_of(evidence)]


def place(end):
    """One end of a decision: a revision, a stage, or both."""
    if isinstance(end, dict):
        name, stage = revision_of(end), end.get("stage")
        return " in ".join(
            part for part in (name and f"revision {name}", stage and str(stage)) if part
        )
    return "" if end is None else str(end)


def table(headings, rows):
    """Columns as wide as their widest cell, two spaces between."""
    every = [headings, *rows]
    widths = [max(len(str(row[column])) for row in every) for column in range(len(headings))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in every
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
