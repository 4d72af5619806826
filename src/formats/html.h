// One HTML page that needs no other file: text, tables, drawings, foldable listings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Text for between tags and for quoted attributes; bytes that are not UTF-8 become U+FFFD (formats/clean_text.h).
std::string html_escape(std::string_view text);

// All texts are escaped. A page is built from top to bottom.
class HtmlPage {
 public:
  explicit HtmlPage(std::string title) : title_(std::move(title)) {}

  void heading(std::string_view text);
  void paragraph(std::string_view text);
  // Rows of cells; the first cell of each names the row, the others are aligned as numbers.
  void table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
  // An SVG document of our own making, with a description for readers who cannot see it. Its ids are made unique on
  // the page.
  void drawing(std::string_view svg, std::string_view description);
  // Preformatted text behind a line that opens it.
  void foldable(std::string_view summary, std::string_view text);
  // Markup of our own making, with the style rules that it needs beside those of the page.
  void fragment(std::string_view markup);
  void add_style(std::string_view rules);

  std::string text() const;  // the whole page, UTF-8

 private:
  std::string title_;
  std::string style_;
  std::string body_;
  int drawings_ = 0;
};

}  // namespace tandem
