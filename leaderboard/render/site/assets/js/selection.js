// From the address to the rows of the view: filtered, then sorted. What has no value comes last, whichever way.
const selection = (() => {
  const flagged = { "": () => true, plain: row => !row.greyed && !row.disputed, greyed: row => row.greyed, disputed: row => row.disputed };

  function base(now) {
    if (data.across.has(now.view)) return data.across.get(now.view).entries;
    return now.view === "rows" ? data.rows : data.rows.filter(row => row.board.id === now.view);
  }

  function filtered(now) {
    const words = now.q.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = ["consumes", "budget", "state", ...(data.across.has(now.view) ? [] : ["device"])].filter(name => now[name]);
    return base(now).filter(row =>
      chosen.every(name => row[name] === now[name]) &&
      flagged[now.flag](row) &&
      words.every(word => data.haystack(row).includes(word)));
  }

  function compare(one, other) {
    if (typeof one === "string") return one.localeCompare(other, "en");
    return one - other;
  }

  const missing = value => value === null || value === undefined || value === "" || Number.isNaN(value);

  function sorted(rows, column, descending) {
    const keyed = rows.map(row => ({ row, value: column.value(row) }));
    keyed.sort((one, other) => {
      if (missing(one.value) || missing(other.value)) return missing(one.value) - missing(other.value);
      return descending ? compare(other.value, one.value) : compare(one.value, other.value);
    });
    return keyed.map(({ row }) => row);
  }

  return { base, filtered, sorted };
})();
