// An opened row: read on demand, then its picture and its parts.
const details = (() => {
  const { html, bdi } = dom;

  // Fills a place with a row's story; a new attempt can follow a failed one.
  async function fill(place, row, view) {
    if (row.overall) return void place.replaceChildren(...members(row));
    place.replaceChildren(html("p", { role: "status" }, "Reading the details…"));
    try {
      const found = await loading.details(row);
      place.replaceChildren(...story(row, found, view, place));
    } catch (error) {
      place.replaceChildren(html("p", { role: "alert" }, error.message, " ",
        html("button", { type: "button", onclick: () => fill(place, row, view) }, "Try again")));
    }
  }

  function story(row, found, view, place) {
    const phase = found.phases[view.phase] ? view.phase : Object.keys(found.phases)[0];
    const width = panelWidth(place.clientWidth);
    const reasons = [["greyed", row.greyed], ["disputed", row.disputed]].filter(([, why]) => why);
    return [
      reasons.map(([kind, why]) => html("p", { class: `notice ${kind}` }, html("b", {}, `${kind}: `), bdi(why))),
      found.tied.length > 0 && html("p", {}, "Tied with ", found.tied.slice(0, 12).map((index, number) => [number ? ", " : "",
        html("a", { href: state.rowLink(data.rows[index]) }, bdi(data.label(data.rows[index]), 60))]), found.tied.length > 12 ? ` and ${found.tied.length - 12} more` : "", "."),
      figure.draw(row, found, phase, width),
      html("div", { class: "sections" }, ["seeds", "cost", "options", "layers", "gain", "comparisons", "provenance", "evidence", "commands"]
        .map(name => sections[name](row, found, phase))),
      html("p", {}, html("a", { href: state.rowLink(row) }, "Link to this row")),
    ].flat(2).filter(Boolean);
  }

  function panelWidth(whole) {
    const inside = Math.max(260, whole - 32);
    const abreast = inside >= 900 ? 3 : inside >= 640 ? 2 : 1;
    return Math.min(460, Math.floor(inside / abreast) - (abreast > 1 ? 16 : 0));
  }

  // An overall entry stands for a row of each environment.
  function members(entry) {
    const { skill, repw } = data.about.headline;
    const triple = (series, index) => series.map(column => column[index]);
    return [dom.table("Its rows, one per environment; learning phase, mean over horizons", ["environment", "dataset", "rank", "skill, 95% interval", "REPW, 95% interval", "fit, s", "state"],
      entry.rows.map(row => [
        html("a", { href: state.rowLink(row) }, bdi(row.board.environment, 80)), bdi(row.board.dataset, 80), row.rank === null ? "-" : String(row.rank),
        columns.plain(triple(skill, row.index), text.skill), columns.plain(triple(repw, row.index), text.points), text.seconds(row.fit), [columns.stateBadge(row), columns.reason("disputed", row.disputed)]]))];
  }

  return { fill };
})();
