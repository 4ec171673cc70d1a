// The view: all of it is in the address after #, so that it can be shared and revisited.
const state = (() => {
  const HORIZONS = ["mean", ...Array.from({ length: data.about.horizons }, (_, index) => String(index + 1))];
  const STATES = ["not confirmed", "claimed", "rescored", "reproduced", "confirmed"];
  const FLAGS = ["plain", "greyed", "disputed"];
  const values = name => [...new Set(data.rows.map(row => row[name]))].sort();
  const CHOICES = { consumes: values("consumes"), budget: values("budget"), device: values("device"), state: STATES, flag: FLAGS };

  const firstView = data.across.get("overall")?.environments.length > 1 ? "overall" : data.about.boards[0]?.id ?? "rows";
  const EMPTY = { view: firstView, phase: "", horizon: "mean", consumes: "", budget: "", device: "", state: "", flag: "", q: "", sort: "rank", page: 0, open: [] };

  const knownView = view => view === "rows" || data.across.has(view) || data.boards.has(view);

  // Parses an address; unknown parts are ignored.
  function parse(hash) {
    const parameters = new URLSearchParams(hash.replace(/^#/, ""));
    const one = (name, known) => (known.includes(parameters.get(name)) ? parameters.get(name) : EMPTY[name]);
    const now = { ...EMPTY, q: (parameters.get("q") ?? "").slice(0, 200), open: parameters.getAll("open").filter(id => data.byId.has(id)).slice(0, 20) };
    now.view = knownView(parameters.get("view")) ? parameters.get("view") : viewOf(now.open[0]);
    const phases = data.phasesOf(data.boards.get(now.view));
    now.phase = data.across.has(now.view) || !phases.includes(parameters.get("phase")) ? phases[0] ?? data.headline : parameters.get("phase");
    now.horizon = data.across.has(now.view) ? "mean" : one("horizon", HORIZONS);
    for (const name of Object.keys(CHOICES)) now[name] = one(name, CHOICES[name]);
    now.sort = /^-?[a-z0-9_]{1,60}$/.test(parameters.get("sort") ?? "") ? parameters.get("sort") : EMPTY.sort;
    now.page = Math.max(0, Math.min(1e6, Number.parseInt(parameters.get("page") ?? "0", 10) || 0));
    return now;
  }

  // A row's address needs no view: its own board is meant.
  function viewOf(id) {
    const row = id && data.byId.get(id);
    if (!row) return firstView;
    return row.overall || row.board.id;
  }

  function address(now) {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(now)) {
      if (name === "open" || value === EMPTY[name] || (name === "phase" && value === data.phasesOf(data.boards.get(now.view))[0])) continue;
      parameters.set(name, value);
    }
    for (const id of now.open) parameters.append("open", id);
    return "#" + parameters.toString();
  }

  const link = changes => address({ ...EMPTY, ...changes });
  const rowLink = row => link({ view: row.overall || row.board.id, open: [row.id] });

  return { parse, address, link, rowLink, EMPTY, HORIZONS, CHOICES };
})();
