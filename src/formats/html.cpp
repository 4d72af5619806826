#include "formats/html.h"

#include <fmt/format.h>

#include "formats/clean_text.h"

namespace tandem {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #21242a; --quiet: #666b73; --rule: #d8dade; --page: #fafafa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --quiet: #9aa0a8; --rule: #3a3e45; --page: #17191d; }
}
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--page);
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap;
         font-variant-numeric: tabular-nums; }
th { color: var(--quiet); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; background: #fff; border: 1px solid var(--rule); border-radius: 6px; overflow: hidden; }
figure svg { display: block; width: 100%; height: auto; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--rule); border-radius: 6px; font-size: .85rem; }
summary { cursor: pointer; }
)";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::string html_escape(std::string_view text) {
  std::string out;
  for (char c : clean_text(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

void HtmlPage::heading(std::string_view text) { body_ += fmt::format("<h2>{}</h2>\n", html_escape(text)); }

void HtmlPage::paragraph(std::string_view text) { body_ += fmt::format("<p>{}</p>\n", html_escape(text)); }

void HtmlPage::table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  body_ += "<table>\n<thead><tr>";
  for (const std::string& cell : header) body_ += fmt::format("<th scope=\"col\">{}</th>", html_escape(cell));
  body_ += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    body_ += "<tr>";
    for (const std::string& cell : row) body_ += fmt::format("<td>{}</td>", html_escape(cell));
    body_ += "</tr>\n";
  }
  body_ += "</tbody>\n</table>\n";
}

void HtmlPage::drawing(std::string_view svg, std::string_view description) {
  // The XML declaration has no place inside HTML.
  size_t start = svg.find("<svg");
  std::string inner(svg.substr(start == std::string_view::npos ? 0 : start));
  // cairo numbers glyphs and clips from zero in every drawing: on one page they would take each other's shapes.
  std::string prefix = fmt::format("d{}-", ++drawings_);
  replace_all(inner, " id=\"", " id=\"" + prefix);
  replace_all(inner, "href=\"#", "href=\"#" + prefix);
  replace_all(inner, "url(#", "url(#" + prefix);
  body_ += fmt::format("<figure role=\"img\" aria-label=\"{}\">\n{}</figure>\n", html_escape(description), inner);
}

void HtmlPage::foldable(std::string_view summary, std::string_view text) {
  body_ += fmt::format("<details><summary>{}</summary>\n<pre>{}</pre>\n</details>\n", html_escape(summary),
                       html_escape(text));
}

void HtmlPage::fragment(std::string_view markup) { body_ += markup; }

void HtmlPage::add_style(std::string_view rules) { style_ += rules; }

std::string HtmlPage::text() const {
  std::string title = html_escape(title_);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}{}</style>\n</head>\n<body>\n<h1>{}</h1>\n{}</body>\n</html>\n",
      title, kStyle, style_, title, body_);
}

}  // namespace tandem
