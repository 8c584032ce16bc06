// Plots in the colours of the present theme, tables that sort, and the records to be downloaded.
"use strict";

const root = document.documentElement;
const style = getComputedStyle(root);
const probe = document.body.appendChild(document.createElement("i"));
probe.hidden = true;

// "var(--pytorch)", or with an opacity in percent "var(--pytorch)/25", as plotly takes it.
function colourOf(written) {
  const [variable, percent] = written.split("/");
  probe.style.color = variable;
  const colour = getComputedStyle(probe).color;
  return percent ? colour.replace("rgb(", "rgba(").replace(")", `, ${percent / 100})`) : colour;
}

// ------------------------------------------------------------------------------------------------------ plots

function coloured(value) {
  if (typeof value === "string") {
    return value.startsWith("var(--") ? colourOf(value) : value;
  }
  if (Array.isArray(value)) {
    const numbers = typeof value[0] === "number" && typeof value[1] !== "string"; // a colour scale has both
    return numbers ? value : value.map(coloured);
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item)]));
  }
  return value;
}

function template() {
  const axis = {
    gridcolor: "var(--rule)", linecolor: "var(--rule)", zerolinecolor: "var(--rule)", automargin: true,
    tickcolor: "var(--rule)", title: {standoff: 12, font: {size: 13}},
  };
  return {
    layout: {
      font: {family: style.getPropertyValue("--text"), size: 13, color: "var(--ink)"},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: {l: 56, r: 16, t: 8, b: 48}, hovermode: "closest",
      legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
      hoverlabel: {bgcolor: "var(--card)", bordercolor: "var(--rule)", font: {color: "var(--ink)"}},
      xaxis: axis, yaxis: axis,
    },
  };
}

const options = {
  responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
};

const plots = [...document.querySelectorAll(".plot")];
const drawn = new Set();

function draw(plot, width) {
  const data = JSON.parse(plot.nextElementSibling.textContent);
  const layout = {...data.layout, template: template(), ...width};
  drawn.add(plot); // first, so that one that cannot be drawn is not tried for ever
  Plotly.react(plot, coloured(data.data), coloured(layout), options);
}

// Every plot that is not folded away is drawn, one at a time while nothing else is to be done, and first what is looked
// at: a capture of the whole page has them all. A folded one is drawn when it comes into sight.
const near = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    near[entry.isIntersecting ? "add" : "delete"](entry.target);
  }
  later(drawNext);
}, {rootMargin: "800px"});

const later = window.requestIdleCallback ? (task) => requestIdleCallback(task, {timeout: 200}) : setTimeout;

function drawNext() {
  const waiting = plots.filter((plot) => !drawn.has(plot) && plot.getClientRects().length);
  const plot = waiting.find((one) => near.has(one)) ?? waiting[0];
  if (!window.Plotly) {
    return;
  }
  if (plot) {
    later(drawNext);
    draw(plot);
  } else {
    hold?.close();
  }
}

// Unpacking and running plotly takes longer than all else, and the words need not wait for it.
async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await (await unpacked("plotly")).text();
  document.body.append(script);
  later(drawNext);
}

// The page counts as loaded when it is drawn: what prints or captures it as soon as it is loaded finds no plot blank.
// A document that is still open, in a hidden frame, is what a page waits for.
function holdLoading() {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.hidden = true;
  frame.contentDocument.open();
  return {close: () => { frame.contentDocument?.close(); frame.remove(); }};
}

async function unpacked(identity) {
  const packed = Uint8Array.from(atob(document.getElementById(identity).textContent), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
}

const hold = plots.length ? holdLoading() : null;
if (plots.length) {
  plots.forEach((plot) => watcher.observe(plot));
  later(() => loadPlotly().catch((error) => { hold.close(); throw error; }));
}

// ------------------------------------------------------------------------------------------------------ theme

const toggle = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
}

function nameTheme() {
  toggle.textContent = isDark() ? "Light theme" : "Dark theme";
}

function themeChanged() {
  nameTheme();
  drawn.forEach((plot) => draw(plot));
}

toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  themeChanged();
});
system.addEventListener("change", themeChanged);
toggle.hidden = false;
nameTheme();

// Paper is light, as wide as it is, and shows everything.
const paper = {width: 660};
let before = null;
addEventListener("beforeprint", () => {
  before = {theme: root.dataset.theme, closed: [...document.querySelectorAll("details:not([open])")]};
  root.dataset.theme = "light";
  before.closed.forEach((one) => { one.open = true; });
  (window.Plotly ? plots : []).forEach((plot) => draw(plot, {width: Math.min(paper.width, plot.clientWidth || paper.width)}));
});
addEventListener("afterprint", () => {
  if (before.theme) {
    root.dataset.theme = before.theme;
  } else {
    delete root.dataset.theme;
  }
  before.closed.forEach((one) => { one.open = false; });
  drawn.forEach((plot) => draw(plot));
});

// ----------------------------------------------------------------------------------------------------- tables

function valueOf(row, column) {
  const cell = row.cells[column];
  const number = "value" in cell.dataset ? Number(cell.dataset.value.replace("inf", "Infinity")) : NaN;
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}

// Numbers first, then words, and what is empty last whichever way is sorted.
function compare(one, other, sign) {
  const rank = (value) => (value === "" || value === "—" ? 2 : typeof value === "number" ? 0 : 1);
  if (rank(one) !== rank(other)) {
    return rank(one) - rank(other);
  }
  const order = typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", {numeric: true});
  return sign * (order || 0);
}

for (const head of document.querySelectorAll("thead")) {
  const headers = [...head.rows[0].cells];
  const body = head.parentElement.tBodies[0];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const direction = header.ariaSort === "ascending" ? "descending" : "ascending";
      headers.forEach((each) => { each.ariaSort = "none"; });
      header.ariaSort = direction;
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((one, other) => compare(valueOf(one, column), valueOf(other, column), sign));
      body.append(...rows);
    });
  });
}

// ---------------------------------------------------------------------------------------------------- records

for (const button of document.querySelectorAll("button.download")) {
  button.addEventListener("click", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await unpacked("records"));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
