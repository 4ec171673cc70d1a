// An opened row of the training track: its curve beside the references', its metrics, and its paired differences.
const trainingRow = (() => {
  const { html, bdi } = dom;

  const format = ({ digits, ratio }, difference = false) => value => text.fixed(value, difference && ratio ? 2 : digits);
  const named = name => data.about.training.metrics[name] ?? { label: name, digits: 3 };

  function fill(place, row, change) {
    const { references, steps } = row.table;
    const beside = [...new Set([row.id, references["tuned adam"], references["best plain"]])].map(id => data.byId.get(id)).filter(Boolean);
    const chart = curveChart.draw(beside, steps, "Mean curve, with tuned Adam's and that of the best plain method", Math.min(620, Math.max(260, place.clientWidth - 32)), 260);
    const metrics = Object.entries(row.estimates).map(([name, estimate]) => [named(name).label, columns.plain(estimate, format(named(name)))]);
    const against = Object.entries(row.against).filter(([, { other }]) => data.byId.has(other));
    place.replaceChildren(
      html("p", { class: "links" }, copying.link("Link to this row", state.rowLink(row)), " ",
        html("button", { type: "button", onclick: () => change({ compare: [row.id] }) }, "Compare with another row")),
      ...[chart].filter(Boolean),
      html("div", { class: "sections" },
        html("section", {}, html("h3", {}, "Metrics"), dom.table("Metrics of this row, 95% intervals over trials", ["metric", "value"], metrics)),
        against.length > 0 && html("section", {}, html("h3", {}, "Differences"),
          dom.table("This row beside others, paired by trial", ["against", "row", "difference in AUC, 95% interval", "p", "this row is"], against.map(([reference, found]) => [
            reference, html("a", { href: state.rowLink(data.byId.get(found.other)) }, bdi(data.byId.get(found.other).method, 90)),
            columns.plain(found.estimates.auc, format(named("auc"))), text.probability(found.p), sections.judged(found.verdict)]))),
        html("section", {}, html("h3", {}, "Record"), html("p", {}, dom.code(file(row))),
          html("p", {}, `State: ${text.clean(row.state, 20)}. `, row.evidence.length ? bdi(row.evidence.join("; "), 1000) : "No check of it is recorded."))));
  }

  // The known difference of two rows, in the direction in which it is stored.
  function difference(one, other) {
    for (const [first, second] of [[one, other], [other, one]]) {
      const found = Object.values(first.against).find(pair => pair.other === second.id);
      if (found) return { first, second, found };
    }
    return null;
  }

  const STORED = "The page has paired differences, with interval and p, of each row to tuned Adam and to the best plain method, and of a forecast to its control.";
  const file = row => `leaderboard/results/training/${text.clean(row.id, 200)}.json`;

  function line(name, first, second, difference) {
    const metric = named(name), own = row => (row.estimates[name] ? columns.plain(row.estimates[name], format(metric)) : "");
    return [metric.ratio ? `${metric.label} (ratio)` : metric.label, own(first), own(second), difference];
  }

  // Of another pair what follows from the rows' means, and the command that gives the rest.
  function unstored(one, other, width) {
    const between = name => {
      const [ours, theirs] = [one, other].map(row => row.estimates[name]?.[0] ?? NaN);
      return format(named(name), true)(named(name).ratio ? ours / theirs : ours - theirs);
    };
    const names = Object.keys(one.estimates).filter(name => other.estimates[name]);
    return [
      html("p", { class: "verdict" }, html("b", {}, bdi(one.method, 120)), " beside ", html("b", {}, bdi(other.method, 120)), `: difference in AUC ${between("auc")}, of which the page has no interval.`),
      dom.table("The row named first minus the second; of steps the ratio", ["", "first row", "second row", "difference"], names.map(name => line(name, one, other, between(name)))),
      html("p", { class: "soft" }, STORED, " Those of this pair, in a clone of the project:"),
      copying.block("Command that compares the two rows", `tipl-bench compare ${file(other)} ${file(one)}`),
      curveChart.draw([one, other], one.table.steps, "Mean curves", width),
      compare.permalink(state.EMPTY.view, one, other),
    ];
  }

  function compared(one, other, width) {
    const known = difference(one, other);
    if (!known) return unstored(one, other, width);
    const { first, second, found } = known;
    const lines = Object.entries(found.estimates).map(([name, estimate]) => line(name, first, second, columns.plain(estimate, format(named(name), true))));
    return [
      compare.sentence(first, second, found.verdict, ["difference in AUC ", ...columns.plain(found.estimates.auc, format(named("auc"))), `, p ${text.probability(found.p)}`]),
      dom.table("The row named first minus the second, paired by trial; of steps the ratio", ["", "first row", "second row", "difference, 95% interval"], lines),
      html("p", { class: "soft" }, "p is of the difference in AUC, corrected over the table's rows (Holm)."),
      curveChart.draw([first, second], first.table.steps, "Mean curves", width),
      compare.permalink(state.EMPTY.view, one, other),
    ];
  }

  return { fill, difference, compared };
})();
