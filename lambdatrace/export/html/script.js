// Zoom, filter, pointing and keys for the waterfalls; sorting for the list. The page reads without it.
// What comes out of a trace is only ever put in as text.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 18, LEAST = 0.2, TICK_PX = 75, CLOSEST_NS = 1000;
  const MARKS = { failed: "M4 5l8 8M12 5l-8 8", open: "M3 9h8M8 5l4 4-4 4" };
  const tip = document.getElementById("tip");

  // As lambdatrace.analysis.words.duration_words.
  function duration(ns) {
    const sign = ns < 0 ? "-" : "";
    ns = Math.abs(ns);
    if (!ns) return "0 ms";
    const units = [[99500, 1e6, 3, "ms"], [9995e3, 1e6, 2, "ms"], [9995e4, 1e6, 1, "ms"],
      [9995e5, 1e6, 0, "ms"], [9995e6, 1e9, 2, "s"], [5995e7, 1e9, 1, "s"]];
    for (const [below, divisor, digits, unit] of units)
      if (ns < below) return `${sign}${(ns / divisor).toFixed(digits)} ${unit}`;
    const seconds = Math.round(ns / 1e9), minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${sign}${minutes} min ${seconds % 60} s`
      : `${sign}${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function element(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

  function waterfall(report) {
    const table = report.querySelector(".waterfall");
    if (!table) return;
    const data = JSON.parse(report.querySelector("script.data").textContent);
    const tools = report.querySelector(".tools");
    const rows = [...table.querySelectorAll("tbody .row")];
    const axis = table.querySelector("thead .drawn");
    const whole = data.duration;
    let view = [0, whole];
    let current = rows[0];
    let dragged = null;
    const touches = new Map();

    // --- drawing -------------------------------------------------------------------------------
    const percent = (ns) => 100 * (ns - view[0]) / (view[1] - view[0]);

    function ticks() {
      const length = view[1] - view[0];
      const most = Math.max(3, Math.floor(axis.clientWidth / TICK_PX));
      let step = 1;
      while (length / step > most) step *= String(step)[0] === "2" ? 2.5 : 2;
      const found = [];
      for (let at = Math.ceil(view[0] / step) * step; at <= view[1]; at += step) found.push(at);
      return found;
    }

    function drawAxis() {
      const names = element("g", { class: "axis" });
      for (const at of ticks()) {
        const place = percent(at);
        const anchor = place < 5 ? "start" : place > 92 ? "end" : "middle";
        names.append(element("text", { x: `${place}%`, y: 12, "text-anchor": anchor }, at ? duration(at) : "0"));
      }
      axis.querySelector("svg").replaceChildren(names);
    }

    function drawRow(row) {
      const told = data.rows[row.dataset.key];
      const found = [element("g", { class: "grid" }, ...ticks().map((at) =>
        element("line", { x1: `${percent(at)}%`, x2: `${percent(at)}%`, y2: "100%" })))];
      if (told.counts) found.push(density(told.counts));
      if (told.life) {
        const [start, end] = [percent(Math.max(0, told.from)), percent(Math.min(whole, told.to))];
        if (end >= 0 && start <= 100)
          found.push(element("line", { class: "life", x1: `${clamp(start, 0, 100)}%`, x2: `${clamp(end, 0, 100)}%`, y1: 9, y2: 9 }));
      }
      for (const [ink, start, end] of told.bars || []) {
        if (end < view[0] || start > view[1]) continue;
        const from = clamp(percent(start), 0, 100), to = clamp(percent(end), 0, 100);
        const width = Math.max(LEAST, to - from);
        found.push(element("rect", { x: `${Math.min(from, 100 - width)}%`, y: 3, width: `${width}%`, height: 12, fill: `url(#t-${ink})` }));
      }
      const ended = percent(clamp(told.to, 0, whole));
      if (MARKS[told.end] && ended >= 0 && ended <= 100.001) {
        const beside = ended < 97;
        found.push(element("svg", { class: "at-end", x: `${beside ? ended : 100}%`, overflow: "visible" },
          element("g", beside ? {} : { transform: "translate(-16 0)" },
            element("rect", { class: "under", x: 1, y: 3, width: 15, height: 12 }),
            element("path", { class: `mark ${told.end}`, d: MARKS[told.end] }))));
      }
      row.querySelector(".bar").replaceChildren(...found);
    }

    function density(counts) {
      const most = Math.max(1, ...counts);
      const path = counts.map((count, at) => `V${16 - (count ? Math.max(count / most * 14, 1) : 0)}H${at + 1}`);
      return element("svg", { x: `${percent(0)}%`, width: `${percent(whole) - percent(0)}%`, height: HEIGHT,
        viewBox: `0 0 ${counts.length} ${HEIGHT}`, preserveAspectRatio: "none" },
      element("path", { class: "fill-member", d: `M0 16${path.join("")}V16Z` }));
    }

    function draw() {
      drawAxis();
      rows.forEach(drawRow);
      const zoomed = view[0] > 0 || view[1] < whole;
      tools.querySelector("[data-do=out]").disabled = !zoomed;
      tools.querySelector("[data-do=reset]").disabled = !zoomed;
      tools.querySelector("[data-do=in]").disabled = view[1] - view[0] <= CLOSEST_NS;
      state();
    }

    function state() {
      const shown = rows.filter((row) => !row.hidden).length;
      const words = [];
      if (shown < rows.length) words.push(`${shown} of ${rows.length} rows`);
      if (view[0] > 0 || view[1] < whole)
        words.push(`${duration(view[0])} to ${duration(view[1])}, ${duration(view[1] - view[0])} of ${duration(whole)}`);
      tools.querySelector(".state").textContent =
        words.join("; ") || "Drag over the bars to zoom, or Ctrl + wheel, pinch, + and −; arrows walk through rows";
    }

    // --- zoom ----------------------------------------------------------------------------------
    function look(start, end) {
      const length = clamp(end - start, Math.min(CLOSEST_NS, whole), whole);
      start = clamp(start, 0, whole - length);
      view = [start, start + length];
      draw();
    }

    const zoom = (factor, around = (view[0] + view[1]) / 2) =>
      look(around - (around - view[0]) / factor, around + (view[1] - around) / factor);
    const pan = (share) => {
      const by = share * (view[1] - view[0]);
      look(clamp(view[0] + by, 0, whole - (view[1] - view[0])), clamp(view[0] + by, 0, whole - (view[1] - view[0])) + view[1] - view[0]);
    };
    const reset = () => look(0, whole);

    function moment(x) {
      const box = axis.getBoundingClientRect();
      return view[0] + clamp((x - box.left) / box.width, 0, 1) * (view[1] - view[0]);
    }

    const inBars = (event) => event.target.closest(".drawn");

    table.addEventListener("wheel", (event) => {
      if (!inBars(event)) return;
      if (event.ctrlKey || event.metaKey) {  // a pinch on a touchpad comes as this, too
        event.preventDefault();
        zoom(Math.exp(-clamp(event.deltaY, -120, 120) / 240), moment(event.clientX));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        if (view[0] > 0 || view[1] < whole) {
          event.preventDefault();
          pan((event.deltaX || event.deltaY) / 600);
        }
      }
    }, { passive: false });

    table.addEventListener("pointerdown", (event) => {
      if (!inBars(event) || event.button) return;
      if (event.pointerType === "touch") {
        touches.set(event.pointerId, event.clientX);
        return;
      }
      dragged = { from: event.clientX, at: moment(event.clientX), range: null };
      table.setPointerCapture(event.pointerId);
    });

    table.addEventListener("pointermove", (event) => {
      if (touches.has(event.pointerId)) return touched(event);
      if (dragged) {
        const box = axis.getBoundingClientRect(), outer = chart.getBoundingClientRect();
        const [left, right] = [dragged.from, event.clientX].map((x) => clamp(x, box.left, box.right)).sort((a, b) => a - b);
        if (!dragged.range && right - left > 4) {
          dragged.range = chart.appendChild(document.createElement("div"));
          dragged.range.className = "range";
        }
        if (dragged.range) {
          dragged.range.style.left = `${left - outer.left}px`;
          dragged.range.style.width = `${right - left}px`;
        }
        return undefined;
      }
      return point(event);
    });

    function touched(event) {
      const before = [...touches.values()], box = axis.getBoundingClientRect();
      touches.set(event.pointerId, event.clientX);
      const after = [...touches.values()];
      if (after.length === 2) {
        const [spread, was] = [after, before].map(([a, b]) => Math.max(8, Math.abs(a - b)));
        zoom(spread / was, moment((after[0] + after[1]) / 2));
      } else if (after.length === 1 && (view[0] > 0 || view[1] < whole)) {
        pan((before[0] - after[0]) / box.width);
      }
    }

    function released(event) {
      touches.delete(event.pointerId);
      if (!dragged) return;
      const { at, range } = dragged;
      dragged = null;
      if (!range) return;
      range.remove();
      if (event.type === "pointerup") {
        const [start, end] = [at, moment(event.clientX)].sort((a, b) => a - b);
        look(start, end);
      }
    }
    table.addEventListener("pointerup", released);
    table.addEventListener("pointercancel", released);

    tools.addEventListener("click", (event) => {
      const what = event.target.closest("button")?.dataset.do;
      if (what === "in") zoom(2);
      if (what === "out") zoom(0.5);
      if (what === "reset") reset();
    });

    // --- pointing ------------------------------------------------------------------------------
    const chart = document.createElement("div");
    chart.className = "chart";
    table.replaceWith(chart);
    chart.append(table);
    const line = chart.appendChild(document.createElement("div"));
    line.className = "moment";
    line.hidden = true;

    function point(event) {
      const row = event.target.closest(".row"), drawn = inBars(event);
      line.hidden = !drawn;
      if (drawn) line.style.left = `${event.clientX - chart.getBoundingClientRect().left}px`;
      if (row) tell(row, event.clientX, event.clientY, drawn ? moment(event.clientX) : null);
      else hush();
    }
    table.addEventListener("pointerleave", () => {
      line.hidden = true;
      hush();
    });

    function tell(row, x, y, at) {
      const told = data.rows[row.dataset.key];
      const name = document.createElement("b"), list = document.createElement("dl");
      name.textContent = told.name;
      const pairs = at === null ? told.details : [...told.details, ["here", duration(Math.round(at))]];
      for (const [label, value] of pairs) {
        list.append(document.createElement("dt"), document.createElement("dd"));
        list.children[list.children.length - 2].textContent = label;
        list.lastChild.textContent = value;
      }
      tip.replaceChildren(name, list);
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      const left = x + 16 + box.width > innerWidth ? x - box.width - 16 : x + 16;
      const top = y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18;
      tip.style.left = `${clamp(left, 8, Math.max(8, innerWidth - box.width - 8))}px`;
      tip.style.top = `${Math.max(8, top)}px`;
    }

    function hush() {
      tip.hidden = true;
    }

    // --- keys: one row can be walked to, from there to the others ----------------------------------
    function stop(row) {
      current.tabIndex = -1;
      current = row;
      row.tabIndex = 0;
    }
    const walk = (row) => row?.focus();

    table.setAttribute("role", "grid");
    table.setAttribute("aria-describedby", tools.querySelector(".state").id = `${report.id}-state`);
    for (const cell of table.querySelectorAll("[role=cell]")) cell.setAttribute("role", "gridcell");
    for (const row of rows) {
      row.tabIndex = row === current ? 0 : -1;
      row.setAttribute("aria-describedby", "tip");
      row.addEventListener("focus", () => {
        stop(row);
        if (!row.matches(":focus-visible")) return;
        const box = row.getBoundingClientRect();
        tell(row, box.left + 40, box.bottom - 18, null);
      });
      row.addEventListener("blur", hush);
      // A finger does not hover.
      row.addEventListener("click", point);
    }

    report.addEventListener("keydown", (event) => {
      if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) {
        if (event.key === "Escape" && event.target.matches("input")) event.target.blur();
        return;
      }
      const shown = rows.filter((row) => !row.hidden), here = shown.indexOf(document.activeElement);
      const keys = {
        "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), "0": reset,
        Escape: () => tip.hidden ? reset() : hush(),
      };
      if (here >= 0) Object.assign(keys, {
        ArrowDown: () => walk(shown[here + 1]), ArrowUp: () => walk(shown[here - 1]),
        Home: () => walk(shown[0]), End: () => walk(shown.at(-1)),
        ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
      });
      if (Object.hasOwn(keys, event.key)) {
        event.preventDefault();
        keys[event.key]();
      }
    });

    // --- filter --------------------------------------------------------------------------------
    const [text, slower] = ["text", "slower"].map((name) => tools.querySelector(`[name=${name}]`));
    const kinds = [...tools.querySelectorAll("[name=kind]")];

    function filter() {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const least = (Number(slower.value) || 0) * 1e6;
      const wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
      for (const row of rows) {
        const told = data.rows[row.dataset.key];
        const all = [told.name, ...told.details.flat()].join(" ").toLowerCase();
        row.hidden = !(words.every((word) => all.includes(word)) && told.took >= least && wanted.has(told.kind));
      }
      if (current.hidden) stop(rows.find((row) => !row.hidden) || current);
      state();
    }
    tools.addEventListener("input", filter);

    function shownByLink() {
      const row = rows.find((each) => `#${each.id}` === location.hash);
      if (!row) return;
      if (row.hidden) {
        text.value = slower.value = "";
        for (const box of kinds) box.checked = true;
        filter();
      }
      walk(row);
    }
    addEventListener("hashchange", shownByLink);

    // On paper everything is looked at.
    let kept = view;
    addEventListener("beforeprint", () => {
      kept = view;
      look(0, whole);
    });
    addEventListener("afterprint", () => look(...kept));
    addEventListener("resize", draw);
    tools.hidden = false;
    table.classList.add("live");
    draw();
    shownByLink();
  }

  // --- several executions ----------------------------------------------------------------------------
  function sortable(list) {
    const body = list.tBodies[0];
    const value = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent;
    [...list.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Figures begin with the largest, names with the first.
        const was = head.getAttribute("aria-sort"), first = body.rows[0]?.cells[at].dataset.value ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = was === first ? other : first;
        for (const each of list.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
        body.append(...[...body.rows].sort((a, b) => sign * compare(value(a, at), value(b, at))));
      });
    });
  }

  for (const list of document.querySelectorAll(".list")) sortable(list);
  for (const report of document.querySelectorAll(".report")) {
    // Of many reports only those that are looked at are drawn again.
    if (report.matches("details:not([open])")) report.addEventListener("toggle", () => waterfall(report), { once: true });
    else waterfall(report);
  }
  // Browsers that cannot show what is folded up on paper (style.css) get it unfolded.
  if (!CSS.supports("selector(::details-content)")) {
    let unfolded = [];
    addEventListener("beforeprint", () => {
      unfolded = [...document.querySelectorAll("details.report:not([open])")];
      for (const each of unfolded) each.open = true;
    });
    addEventListener("afterprint", () => {
      for (const each of unfolded) each.open = false;
    });
  }
  const opened = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const report = target && target.closest("details.report");
    if (report && !report.open) {
      report.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", opened);
  opened();
})();
