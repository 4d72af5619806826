#include "row_view.h"

#include <fmt/format.h>

#include <algorithm>

namespace tandem::app {
namespace {

constexpr const char* kDocumentMark = "\u00B6";    // pilcrow
constexpr const char* kBlockMark = "\u2502";       // vertical line
constexpr const char* kUnlabelledOpen = "\u27E8";  // angle brackets
constexpr const char* kUnlabelledClose = "\u27E9";
constexpr const char* kLineEnd = "\u21B5";

constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kDocumentColour = "\x1b[0;1;35m";
constexpr const char* kBlockColour = "\x1b[0;1;36m";

bool labelled(const TokenView& token) { return token.label != kIgnoreLabel; }

// Line ends become visible; other control characters must not reach a terminal.
std::string visible(const std::string& text) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += std::string(kLineEnd) + "\n";
    } else if (byte >= 0x20 && byte != 0x7F) {
      out += c;
    } else {
      out += c == '\t' ? "\u2192" : "\u00B7";
    }
  }
  return out;
}

// Colour says who wrote a token, brightness whether it is predicted.
std::string style_of(const TokenView& token) {
  std::string style = "\x1b[0";
  if (!labelled(token)) style += ";2";
  if (token.special)
    style += ";33";
  else if (token.role == Role::prompt)
    style += ";34";
  else if (token.role == Role::response)
    style += ";32";
  return style + "m";
}

size_t run_of_padding(std::span<const TokenView> tokens, size_t at) {
  size_t end = at;
  while (end < tokens.size() && tokens[end].role == Role::padding) ++end;
  return end - at;
}

TokenView view_token(const Tokenizer& tokenizer, int32_t id, int32_t position, int32_t label) {
  TokenView view{.id = id, .position = position, .label = label};
  // A model's vocabulary may be larger than its tokenizer's: sentinels, room for more.
  if (id < 0 || id >= tokenizer.vocab_size()) {
    view.text = fmt::format("<{}>", id);
    view.special = true;
    return view;
  }
  view.special = tokenizer.is_special(id);
  view.text = view.special ? tokenizer.id_to_token(id) : tokenizer.decode(std::span(&id, 1));
  return view;
}

std::string label_name(const Tokenizer& tokenizer, int32_t label) {
  return view_token(tokenizer, label, 0, kIgnoreLabel).text;
}

constexpr const char* kStyle = R"(
.row { line-height: 2; word-break: break-word; white-space: pre-wrap; padding: .6rem .8rem;
       border: 1px solid var(--rule); border-radius: 6px; }
.row span, .legend span { border-radius: 3px; padding: .1rem 0; border-bottom: 2px solid transparent; }
.row .y, .legend .y { border-bottom-color: #2a9d55; }
.row .n, .legend .n { opacity: .55; }
.row .s, .legend .s { color: #b7791f; font-weight: 600; }
.row .p, .legend .p { background: rgba(66, 120, 220, .16); }
.row .r, .legend .r { background: rgba(42, 157, 85, .16); }
.row .x, .legend .x { color: var(--quiet); font-style: italic; }
.row .d, .legend .d { color: #a3308f; font-weight: 700; padding: 0 .25rem; }
.row .b, .legend .b { color: #0e7490; font-weight: 700; padding: 0 .2rem; }
.legend span { margin-right: .25rem; padding: .1rem .3rem; }
)";

}  // namespace

int64_t RowView::documents() const {
  int64_t count = 0;
  int32_t last = -1;
  for (const TokenView& token : tokens) {
    if (token.role != Role::padding && token.segment != last) ++count;
    last = token.segment;
  }
  return count;
}

int64_t RowView::labelled() const { return std::count_if(tokens.begin(), tokens.end(), app::labelled); }

int64_t RowView::padding() const {
  return std::count_if(tokens.begin(), tokens.end(), [](const TokenView& t) { return t.role == Role::padding; });
}

std::vector<int64_t> RowView::block_starts() const {
  std::vector<int64_t> starts;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t].opens_block) starts.push_back(static_cast<int64_t>(t));
  }
  return starts;
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::text: return "text";
    case Role::prompt: return "prompt";
    case Role::response: return "response";
    case Role::padding: return "padding";
  }
  return "";
}

RowView view_row(const Batch& batch, int64_t row, const Tokenizer& tokenizer) {
  RowView view;
  // Labels of the rows are those of the loss unless something else is made of the rows.
  bool labels_count = !batch.two_sided || batch.objective == Objective::conversation;
  for (int64_t t = 0; t < batch.length; ++t) {
    auto at = static_cast<size_t>(row * batch.length + t);
    int32_t label = labels_count ? batch.labels[at] : kIgnoreLabel;
    TokenView token = view_token(tokenizer, batch.ids[at], batch.positions[at], label);
    token.segment = batch.segments[at];
    token.role = batch.roles.empty() ? Role::text : batch.roles[at];
    token.opens_document = t > 0 && token.segment != batch.segments[at - 1];
    token.opens_block = std::binary_search(batch.boundaries.begin(), batch.boundaries.end(), static_cast<int32_t>(at));
    view.tokens.push_back(std::move(token));
  }
  return view;
}

std::vector<SidesView> view_sides(const Batch& batch, const Tokenizer& tokenizer) {
  std::vector<SidesView> views;
  if (!batch.two_sided) return views;
  for (const WriterBlock& block : batch.writer.blocks) {
    SidesView view;
    for (int64_t t = block.reads.begin; t < block.reads.end; ++t) {
      auto at = static_cast<size_t>(t);
      view.reads.push_back(view_token(tokenizer, batch.reader.ids[at], batch.reader.positions[at], kIgnoreLabel));
    }
    for (int64_t t = block.tokens.begin; t < block.tokens.end; ++t) {
      auto at = static_cast<size_t>(t);
      const WriterSide& writer = batch.writer;
      view.writes.push_back(view_token(tokenizer, writer.ids[at], writer.positions[at], writer.labels[at]));
    }
    views.push_back(std::move(view));
  }
  return views;
}

std::string legend(bool colour) {
  if (!colour) {
    return fmt::format("{} a document begins   {} a block begins   {}...{} the next token is not predicted here\n",
                       kDocumentMark, kBlockMark, kUnlabelledOpen, kUnlabelledClose);
  }
  return fmt::format(
      "{}{}{} a document begins   {}{}{} a block begins   \x1b[2mdim{}: the next token is not predicted here   "
      "\x1b[34mprompt{}   \x1b[32mresponse{}   \x1b[33mspecial token{}\n",
      kDocumentColour, kDocumentMark, kPlain, kBlockColour, kBlockMark, kPlain, kPlain, kPlain, kPlain, kPlain);
}

std::string to_text(std::span<const TokenView> tokens, bool colour) {
  std::string out;
  bool inside = false;  // of the signs around tokens without a label
  auto bracket = [&](bool unlabelled) {
    if (colour || inside == unlabelled) return;
    out += unlabelled ? kUnlabelledOpen : kUnlabelledClose;
    inside = unlabelled;
  };
  std::string painted;  // the style that is on; empty: none
  auto paint = [&](const std::string& style) {
    if (style == painted) return;
    out += style.empty() ? kPlain : style;
    painted = style;
  };
  auto mark = [&](const char* sign, const char* style) {
    bracket(false);
    paint(colour ? style : "");
    out += sign;
  };
  for (size_t t = 0; t < tokens.size(); ++t) {
    const TokenView& token = tokens[t];
    if (size_t padding = run_of_padding(tokens, t); padding > 0) {
      mark(fmt::format("[padding: {}]", padding).c_str(), "\x1b[0;2m");
      t += padding - 1;
      continue;
    }
    if (token.opens_document) mark(kDocumentMark, kDocumentColour);
    if (token.opens_block) mark(kBlockMark, kBlockColour);
    bracket(!labelled(token));
    paint(colour ? style_of(token) : "");
    out += visible(token.text);
  }
  bracket(false);
  paint("");
  return out;
}

void add_legend(HtmlPage& page) {
  page.add_style(kStyle);
  page.fragment(
      fmt::format("<p class=\"legend\"><span class=\"d\">{}</span>a document begins "
                  "<span class=\"b\">{}</span>a block begins "
                  "<span class=\"y\">underlined</span>the next token is predicted here "
                  "<span class=\"n\">pale</span>it is not <span class=\"p\">prompt</span>"
                  "<span class=\"r\">response</span><span class=\"s\">&lt;special&gt;</span></p>\n",
                  kDocumentMark, kBlockMark));
}

void add_tokens(HtmlPage& page, std::span<const TokenView> tokens, const Tokenizer& tokenizer) {
  std::string markup = "<div class=\"row\">";
  for (size_t t = 0; t < tokens.size(); ++t) {
    const TokenView& token = tokens[t];
    if (size_t padding = run_of_padding(tokens, t); padding > 0) {
      markup += fmt::format("<span class=\"x\">padding: {} tokens</span>", padding);
      t += padding - 1;
      continue;
    }
    if (token.opens_document) markup += fmt::format("<span class=\"d\">{}</span>", kDocumentMark);
    if (token.opens_block) markup += fmt::format("<span class=\"b\">{}</span>", kBlockMark);
    std::string classes = labelled(token) ? "y" : "n";
    if (token.special) classes += " s";
    if (token.role == Role::prompt) classes += " p";
    if (token.role == Role::response) classes += " r";
    std::string about = fmt::format("id {}, position {}, {} {}", token.id, token.position,
                                    token.role == Role::text ? "document" : role_name(token.role), token.segment);
    about += labelled(token) ? fmt::format(", predicts '{}' ({})", label_name(tokenizer, token.label), token.label)
                             : ", predicts nothing";
    markup += fmt::format("<span class=\"{}\" title=\"{}\">{}</span>", classes, html_escape(about),
                          html_escape(visible(token.text)));
  }
  page.fragment(markup + "</div>\n");
}

}  // namespace tandem::app
