// An opened row: read on demand, then its picture and its parts.
const details = (() => {
  const { html, bdi } = dom;

  // Fills a place with a row's story; a new attempt can follow a failed one.
  async function fill(place, row, view) {
    if (row.overall) return void place.replaceChildren(links(row), ...members(row));
    place.replaceChildren(html("p", { role: "status" }, "Reading the details…"));
    try {
      const phase = Object.hasOwn(row.board.phases, view.phase) ? view.phase : Object.keys(row.board.phases)[0];
      place.replaceChildren(...story(row, await loading.details(row, phase), phase, place));
    } catch (error) {
      place.replaceChildren(html("p", { role: "alert" }, error.message, " ",
        html("button", { type: "button", onclick: () => fill(place, row, view) }, "Try again")));
    }
  }

  const links = row => html("p", { class: "links" }, copying.link("Link to this row", state.rowLink(row)), " ",
    html("button", { type: "button", onclick: () => page.compare(row) }, "Compare with another row"));

  function story(row, found, phase, place) {
    const width = panelWidth(place.clientWidth);
    const reasons = [["greyed", row.greyed], ["disputed", row.disputed]].filter(([, why]) => why);
    return [
      links(row),
      reasons.map(([kind, why]) => html("p", { class: `notice ${kind}` }, html("b", {}, `${kind}: `), bdi(why))),
      found.tied.length > 0 && html("p", {}, "Tied with ", found.tied.slice(0, 12).map((index, number) => [number ? ", " : "",
        html("a", { href: state.rowLink(data.rows[index]) }, bdi(data.label(data.rows[index]), 60))]), found.tied.length > 12 ? ` and ${found.tied.length - 12} more` : "", "."),
      figure.draw(row, found, phase, width),
      html("div", { class: "sections" }, ["seeds", "cost", "options", "layers", "positions", "comparisons", "provenance", "evidence", "commands"]
        .map(name => sections[name](row, found, phase))),
    ].flat(2).filter(Boolean);
  }

  function panelWidth(whole) {
    const inside = Math.max(260, whole - 32);
    const abreast = inside >= 900 ? 3 : inside >= 640 ? 2 : 1;
    return Math.min(460, Math.floor(inside / abreast) - (abreast > 1 ? 16 : 0));
  }

  // An overall entry stands for a row of each environment.
  function members(entry) {
    const shown = data.metrics.filter(({ name }) => entry.rows.some(row => Number.isFinite(data.about.headline.metrics[name]?.[0][row.index])));
    const shares = entry.comparisons.some(({ share }) => Number.isFinite(share[0]));
    const triple = ({ name }, index) => data.about.headline.metrics[name].map(column => column[index]);
    return [dom.table("Its rows, one per environment; learning phase, mean over horizons", ["environment", "dataset", "rank", ...shown.map(metric => `${metric.label}, 95% interval`), "fit, s", "state"],
      entry.rows.map(row => [
        html("a", { href: state.rowLink(row) }, bdi(row.board.environment, 80)), bdi(row.board.dataset, 80), row.rank === null ? "-" : String(row.rank),
        ...shown.map(metric => columns.plain(triple(metric, row.index), data.format(metric))), text.seconds(row.fit), [columns.stateBadge(row), columns.reason("disputed", row.disputed)]])),
    entry.comparisons.length > 0 && dom.table("Against every other one, paired over the test trials of each environment", ["other", "difference in skill, 95% interval", "this one is", ...(shares ? ["difference in the share of the ceiling, 95% interval"] : []), "ratio of the error ratios, 95% interval"],
      entry.comparisons.map(other => [bdi(other.label, 80), columns.plain(other.difference, text.skill), sections.judged(other.verdict), ...(shares ? [columns.plain(other.share, text.skill)] : []), columns.plain(other.error_ratio, text.skill)]))].filter(Boolean);
  }

  return { fill };
})();
