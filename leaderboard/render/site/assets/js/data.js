// The page's own data: boards, rows and comparisons across environments, from the JSON that stands in the page.
const data = (() => {
  const about = JSON.parse(document.getElementById("data").textContent);
  const boards = new Map(about.boards.map(board => [board.id, board]));
  const names = ["board", "method", "version", "consumes", "budget", "variant", "device", "state", "reproduction", "confirmation", "greyed", "disputed"];

  const rows = about.rows.id.map((id, index) => {
    const row = { id, index, part: null };
    for (const name of names) row[name] = about.rows[name].values[about.rows[name].index[index]];
    for (const name of ["rank", "ties", "seeds", "above", "branching", "spread", "fresh", "fit", "parameters"]) row[name] = about.rows[name][index];
    row.board = boards.get(row.board);
    row.ranks = Object.fromEntries(Object.entries(about.rows.ranks).filter(([, places]) => places.rank[index] !== null)
      .map(([name, places]) => [name, { rank: places.rank[index], ties: places.ties[index] }]));
    return row;
  });

  let first = 0;
  about.lengths.forEach((length, number) => {
    for (const row of rows.slice(first, first + length)) row.part = `rows-${String(number).padStart(3, "0")}`;
    first += length;
  });

  // Across environments, by view: the newest protocol's is "overall", whichever that is, older ones are named by theirs.
  const across = new Map(about.overall.map((comparison, number) => {
    const view = number ? `overall-p${comparison.protocol}` : "overall";
    const entries = comparison.rows.map(entry => ({
      ...entry,
      rows: entry.rows.map(index => rows[index]),
      ties: entry.tied.length,
      fit: entry.rows.reduce((sum, index) => sum + rows[index].fit, 0),
      parameters: Math.max(0, ...entry.rows.map(index => rows[index].parameters)),
      overall: view, named: entry.label,
    }));
    return [view, { ...comparison, view, entries, superseded: number > 0 }];
  }));
  const entries = [...across.values()].flatMap(comparison => comparison.entries);

  // Rows of the training track.
  const runs = about.training.tables.flatMap(table => table.details.map(row => ({ ...row, training: table.environment, table })));
  const byId = new Map([...runs, ...rows, ...entries].map(row => [row.id, row]));

  function haystack(row) {
    const board = row.board ?? {};
    row.haystack ??= [row.method, row.variant, row.budget, row.consumes, row.device, row.state, board.dataset, board.environment,
      row.greyed, row.disputed, ...(row.environments ?? [])].filter(Boolean).join("\n").toLowerCase();
    return row.haystack;
  }

  // The phases that are measured on a board, or on any board.
  const phasesOf = board => about.phases.filter(phase => !board || Object.hasOwn(board.phases, phase));

  // Another protocol's boards of the same dataset.
  const otherProtocols = board => about.boards.filter(other => other !== board && other.dataset === board.dataset && other.digest === board.digest);
  const protocols = new Set(about.boards.map(board => board.protocol));

  // What tells boards of one dataset, and comparisons, apart: nothing where all are of one protocol.
  const version = ({ protocol, superseded }) => `${protocols.size > 1 ? `, protocol ${protocol}` : ""}${superseded ? " (superseded)" : ""}`;

  const label = row => `${row.method}${row.variant ? " " + row.variant : ""}`;

  // Metrics of rows; the first is what they are ranked by. References are a board's, each shown beside a metric.
  const metrics = about.metrics.filter(metric => metric.direction !== null);
  const referencesOf = metric => about.metrics.filter(reference => reference.beside === metric.name);
  const ranking = metrics[0];
  const format = metric => (metric.unit === "return" ? text.points : metric.digits > 6 ? text.scientific : value => text.fixed(value, metric.digits));

  // The phase that is shown first: that of a board's ranks, or of most boards.
  const LEARNING = "learning";
  const headline = board => board?.headline ?? (about.phases.includes(LEARNING) ? LEARNING : about.boards[0]?.headline ?? LEARNING);

  return { about, metrics, referencesOf, ranking, format, boards, rows, across, runs, entries, byId, haystack, phasesOf, otherProtocols, version, label, headline };
})();
