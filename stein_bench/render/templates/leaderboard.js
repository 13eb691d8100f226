"use strict";
(function () {
  const form = document.getElementById("filters"), fields = form.elements, shown = document.getElementById("shown");
  const RISING = ["rank", "model", "bn", "mce", "attacks", "parameters", "passes", "seconds"];
  const boards = Array.from(document.querySelectorAll("section.board"), function (section) {
    const heads = Array.from(section.querySelectorAll("thead th")), body = section.querySelector("tbody");
    const keys = heads.map(function (head) { return head.dataset.key; });
    const rows = Array.from(body.rows);
    // Said once more: where the style makes cards of rows, browsers no longer take the elements for a table's.
    const roles = { table: "table", "thead, tbody": "rowgroup", tr: "row", "thead th": "columnheader", "tbody th": "rowheader",
      td: "cell" };
    for (const [elements, role] of Object.entries(roles)) {
      for (const element of section.querySelectorAll(elements)) { element.setAttribute("role", role); }
    }
    rows.forEach(function (row, number) {
      row.place = number;
      const name = row.cells[1].children;
      row.text = (name[0].textContent + " " + name[1].textContent + " " + row.dataset.bn).toLowerCase();
    });
    return { section: section, heads: heads, keys: keys, body: body, rows: rows,
      main: heads.findIndex(function (head) { return head.classList.contains("main"); }),
      ranked: heads[0].querySelector("small") };
  });
  let sort = "", falling = false;

  function value(cell, key) {
    if (cell === undefined || cell.dataset.v === undefined) { return null; }
    const number = Number(cell.dataset.v);
    return key === "model" || key === "bn" ? cell.dataset.v : number;
  }

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    form.reset();
    for (const name of ["q", "data", "by", "strength", "bn", "stats"]) {
      if (!fields[name] || !given.has(name)) { continue; }
      fields[name].value = given.get(name);
      if (fields[name].selectedIndex === -1) { fields[name].value = ""; }
    }
    fields.ok.checked = given.get("ok") === "1";
    const parts = (given.get("sort") || "").split(",");
    sort = boards.some(function (board) { return board.keys.includes(parts[0]); }) ? parts[0] : "";
    falling = parts[1] === "down";
  }

  function write() {
    const kept = new URLSearchParams();
    for (const name of ["q", "data", "by", "strength", "bn", "stats"]) {
      if (fields[name] && fields[name].value) { kept.set(name, fields[name].value); }
    }
    if (fields.ok.checked) { kept.set("ok", "1"); }
    if (sort) { kept.set("sort", sort + (falling ? ",down" : ",up")); }
    const text = kept.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }

  function strongest(row, board, column) {
    let best = Infinity;
    board.heads.forEach(function (head, number) {
      const cell = row.cells[number];
      if (head.classList.contains("threat") && (column < 0 || column === number) && cell.dataset.s !== undefined) {
        best = Math.min(best, Number(cell.dataset.s));
      }
    });
    return best;
  }

  function passes(row, board, column) {
    const words = fields.q.value.toLowerCase().split(/\s+/);
    return words.every(function (word) { return row.text.includes(word); })
      && (!fields.bn.value || row.dataset.bn === fields.bn.value)
      && (!fields.stats.value || row.dataset.stats === fields.stats.value)
      && !(fields.ok.checked && row.dataset.bad !== undefined)
      && (!fields.by.value || row.cells[column].dataset.v !== undefined || row.cells[column].dataset.s !== undefined)
      && (!fields.strength.value || strongest(row, board, column) <= Number(fields.strength.value));
  }

  function ordered(board, column) {
    const by = column < 0 ? board.main : column;
    const key = board.keys.includes(sort) ? sort : "rank";
    const at = key === "rank" ? by : board.keys.indexOf(key);
    const down = key === "rank" ? !(sort && falling) : falling;
    return board.rows.slice().sort(function (one, other) {
      const a = one.cells[at], b = other.cells[at], x = value(a, key), y = value(b, key);
      if (x === null || y === null) { return (x === null) - (y === null) || one.place - other.place; }
      const group = Number(a.dataset.g || 0) - Number(b.dataset.g || 0);
      const difference = typeof x === "string" ? x.localeCompare(y) : x - y;
      return group || (down ? -difference : difference) || one.place - other.place;
    });
  }

  function apply() {
    let seen = 0, all = 0;
    for (const board of boards) {
      const column = fields.by.value ? board.keys.indexOf(fields.by.value) : -1;
      const here = (!fields.data || !fields.data.value || board.section.dataset.data === fields.data.value)
        && (!fields.by.value || column >= 0);
      const by = column < 0 ? board.main : column;
      all += board.rows.length;
      board.section.hidden = !here;
      if (!here) { continue; }
      board.heads.forEach(function (head, number) {
        const gone = column >= 0 && head.classList.contains("threat") && number !== column;
        head.hidden = gone;
        for (const row of board.rows) { row.cells[number].hidden = gone; }
        const active = (sort || "rank") === head.dataset.key;
        if (active) { head.setAttribute("aria-sort", falling && sort ? "descending" : "ascending"); }
        else { head.removeAttribute("aria-sort"); }
      });
      board.ranked.textContent = "by " + board.heads[by].firstElementChild.textContent;
      for (const note of board.section.querySelectorAll(".legend")) { note.hidden = note.dataset.track !== board.keys[by]; }
      for (const row of ordered(board, column)) {
        row.cells[0].firstElementChild.textContent = row.cells[by].dataset.r || "–";
        row.hidden = !passes(row, board, column);
        seen += row.hidden ? 0 : 1;
        board.body.append(row);
      }
    }
    fields.sort.value = sort === "rank" ? "" : sort;
    shown.textContent = seen === all ? all + " rows" : seen + " of " + all + " rows shown";
  }

  function changed() { write(); apply(); }

  for (const board of boards) {
    board.heads.forEach(function (head, number) {
      const label = head.firstElementChild || head;
      const title = label.textContent;
      for (const row of board.rows) { row.cells[number].dataset.label = title; }
      if (!head.dataset.key) { return; }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      label.replaceWith(button);
      button.addEventListener("click", function () {
        const first = !RISING.includes(head.dataset.key);
        falling = (sort || "rank") === head.dataset.key ? !falling : first;
        sort = head.dataset.key;
        changed();
      });
    });
  }
  form.addEventListener("input", function (event) {
    if (event.target === fields.sort) { sort = fields.sort.value; falling = sort !== "" && !RISING.includes(sort); }
    changed();
  });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("reset", function () { sort = ""; falling = false; setTimeout(changed); });
  window.addEventListener("hashchange", function () { read(); apply(); });
  document.documentElement.classList.add("js");
  form.hidden = false;
  read();
  apply();
})();
