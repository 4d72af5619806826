#include "formats/html.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "formats/clean_text.h"

namespace tandem {
namespace {

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++n;
  return n;
}

TEST(CleanText, KeepsWellFormedUtf8) {
  for (const char* text : {"", "plain", "\u00fc\u20ac\U0001F600", "\U0010FFFF\uD7FF\uE000", "a\tb\nc"}) {
    EXPECT_EQ(clean_text(text), text);
  }
}

TEST(CleanText, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(clean_text("a\xff"
                       "b"),
            "a\uFFFDb");
  EXPECT_EQ(clean_text("\xc0\xaf"), "\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(clean_text("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD") << "surrogate";
  EXPECT_EQ(clean_text("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD") << "beyond U+10FFFF";
  EXPECT_EQ(clean_text("\xe2\x82"), "\uFFFD\uFFFD") << "cut off";
}

TEST(CleanText, DropsControlCharacters) {
  EXPECT_EQ(clean_text(std::string("a\0b\x1b[1mc\x7f\r\xc2\x85", 13)), "ab[1mc");
}

TEST(Shorten, CountsCharacters) {
  EXPECT_EQ(shorten("größe", 5), "größe");
  EXPECT_EQ(shorten("größer", 5), "größ…");
  EXPECT_EQ(shorten("", 3), "");
}

TEST(HtmlEscape, LeavesNoMarkup) {
  EXPECT_EQ(html_escape("<a href=\"x\">'&amp;'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/a&gt;");
}

TEST(HtmlPage, EscapesEveryText) {
  const std::string evil = "<script>\"'&\xff";
  HtmlPage page(evil);
  page.heading(evil);
  page.paragraph(evil);
  page.table({evil, "b"}, {{evil, "1"}});
  page.drawing("<?xml version=\"1.0\"?>\n<svg></svg>\n", evil);
  page.foldable(evil, evil);
  std::string text = page.text();
  EXPECT_EQ(count(text, "<script"), 0u);
  EXPECT_EQ(count(text, "&lt;script&gt;&quot;&#39;&amp;\uFFFD"), 9u);
  EXPECT_EQ(count(text, "<?xml"), 0u);
  EXPECT_EQ(count(text, "<td>"), 2u);
  EXPECT_TRUE(text.starts_with("<!DOCTYPE html>"));
  EXPECT_NE(text.find("<meta charset=\"utf-8\">"), std::string::npos);
}

TEST(HtmlPage, KeepsTheIdsOfDrawingsApart) {
  HtmlPage page("p");
  std::string svg = "<svg><g id=\"glyph0-1\"/><use xlink:href=\"#glyph0-1\"/><g clip-path=\"url(#glyph0-1)\"/></svg>";
  page.drawing(svg, "first");
  page.drawing(svg, "second");
  std::string text = page.text();
  for (const char* part : {" id=\"{}glyph0-1\"", "href=\"#{}glyph0-1\"", "url(#{}glyph0-1)"}) {
    EXPECT_EQ(count(text, fmt::format(fmt::runtime(part), "d1-")), 1u);
    EXPECT_EQ(count(text, fmt::format(fmt::runtime(part), "d2-")), 1u);
    EXPECT_EQ(count(text, fmt::format(fmt::runtime(part), "")), 0u);
  }
}

TEST(Html, FragmentsStandAsTheyAreAndStylesInTheHead) {
  HtmlPage page("p");
  page.paragraph("before");
  page.fragment("<span class=\"x\">a &amp; b</span>\n");
  page.add_style(".x { color: red; }");
  std::string text = page.text();
  size_t style = text.find(".x { color: red; }"), fragment = text.find("<span class=\"x\">a &amp; b</span>");
  ASSERT_NE(style, std::string::npos);
  ASSERT_NE(fragment, std::string::npos);
  EXPECT_LT(style, text.find("</style>"));
  EXPECT_LT(text.find("before"), fragment);
}

}  // namespace
}  // namespace tandem
