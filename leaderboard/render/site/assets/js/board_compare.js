// Two rows of a board, or of a comparison across environments: paired differences with Holm's correction, looked up.
const boardCompare = (() => {
  const { html } = dom;
  const place = document.getElementById("compare");
  let widget = null, view = null;

  function listen(change) {
    widget = compare.widget({
      change: ids => change({ compare: ids }, { replace: true }),
      partners: (row, rows) => rows.filter(other => other !== row),
      result: (one, other) => (one.overall ? ofOverall(one, other) : ofBoard(one, other)),
    });
    place.replaceChildren(widget.element);
  }

  function draw(now) {
    view = now;
    const rows = now.now.view === "rows" ? [] : selection.base(now.now);
    place.hidden = rows.length < 2;
    return widget.draw(rows, now.now.compare.filter(id => !data.byId.get(id).training));
  }

  const HEAD = ["", "first row", "second row", "difference, 95% interval", "p", "the first is"];
  const line = (label, ours, theirs, format, difference, p, verdict) =>
    [label, columns.plain(ours, format), columns.plain(theirs, format), columns.plain(difference, format), text.probability(p), sections.judged(verdict)];

  async function ofBoard(one, other) {
    let found;
    try {
      found = (await loading.details(one, one.board.headline)).comparisons.find(({ row }) => row === other.index);
    } catch (error) {
      return [html("p", { role: "alert" }, error.message)];
    }
    if (!found) return [html("p", {}, "The leaderboard has no difference of these two rows.")];
    const of = (name, row) => data.about.headline.metrics[name]?.map(column => column[row.index]) ?? [];
    const pairs = data.metrics.map(metric => [metric, metric === data.ranking ? found : found.others[metric.name]]).filter(([, pair]) => pair);
    const lines = pairs.map(([metric, pair]) => line(metric.label, of(metric.name, one), of(metric.name, other), data.format(metric), pair.difference, pair.p, pair.verdict));
    lines.push(["share of the test trials in which the first has the higher skill", "", "", columns.plain(found.wins, value => text.fixed(value, 2)), "", ""]);
    return answer(one, other, found, lines, `${one.board.headline} phase, means over horizons`);
  }

  async function ofOverall(one, other) {
    const found = one.comparisons.find(({ label }) => label === other.named);
    if (!found) return [html("p", {}, "The leaderboard has no difference of these two rows.")];
    const lines = [line(data.ranking.label, one.skill, other.skill, text.skill, found.difference, found.p, found.verdict)];
    if (Number.isFinite(found.share[0])) lines.push(line("share of the ceiling", one.share, other.share, text.skill, found.share, null, null).slice(0, 4).concat("", ""));
    lines.push(line("error ratio; its difference is the first's over the second's", one.error_ratio, other.error_ratio, text.skill, found.error_ratio, null, null).slice(0, 4).concat("", ""));
    return answer(one, other, found, lines, "learning phase, means over horizons and environments");
  }

  function answer(one, other, found, lines, where) {
    const by = ["difference in ", data.ranking.label, " ", ...columns.plain(found.difference, text.skill), Number.isFinite(found.p) && `, p ${text.probability(found.p)}`];
    const { correction, practical_tie } = (one.overall ? data.across.get(one.overall) : one.board).ranking;
    const rule = correction === "none" ? "Each pair's interval stands by itself." : `Intervals are the pair's own; p and the verdict are corrected for all ranked pairs of the table (Holm), and skills less than ${practical_tie} apart are tied.`;
    const width = Math.min(660, place.clientWidth || 660);
    return [
      compare.sentence(one, other, found.verdict, by),
      dom.table(`The first row minus the second, paired by test trial; ${where}`, HEAD, lines),
      html("p", { class: "soft" }, rule),
      horizonChart.draw([one, other], view, width),
      compare.permalink(view.now.view, one, other),
    ];
  }

  return { listen, draw, focus: () => widget.focus() };
})();
