// Rows of tokens on their way into a model. Shared by data (which packs them) and arch (which prepares them).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

inline constexpr int32_t kIgnoreLabel = -100;

// Who wrote a token.
enum class Role : uint8_t {
  text,      // of a document
  prompt,    // of a conversation: BOS, system, user, their role tokens
  response,  // of a conversation: the answering role's token, the answer, its EOS
  padding,   // fills a row; neither read nor predicted
};

// What a model learns from rows.
enum class Objective : uint8_t {
  text,             // every next token
  prefix_lm,        // a row is cut once; the rest is written after the first part was read
  span_corruption,  // stretches are replaced by sentinels and written after what is left was read
  conversation,     // the responses are written after what stands before them was read
};

// Tokens [begin, end) of some list.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

// What an encoder reads, and what a decoder writes, when these are not the rows themselves. Sequences and blocks have
// any length: nothing is padded. Each list is ascending and covers its tokens without a gap.
struct ReaderSide {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<TokenRange> sequences;  // tokens of two sequences never see each other
};
struct WriterBlock {
  TokenRange tokens;  // of the writer; each sees the ones before it in its block
  TokenRange reads;   // of the reader; all of them are seen by every token of the block
  bool operator==(const WriterBlock&) const = default;
};
struct WriterSide {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> labels;
  std::vector<WriterBlock> blocks;
};

// `rows` rows of `length` tokens, flattened: token t of row b stands at b * length + t.
//
// A row of conversations is isolated, each conversation is a segment: BOS, prompt tokens, then a response (the role
// token of the one who answers, the answer, EOS), perhaps another prompt and response. Labels are next tokens where the
// next token is a response token behind its role token: the role token is given, not predicted; EOS is predicted. What
// is left of the row is one segment of padding.
struct Batch {
  int64_t rows = 0;
  int64_t length = 0;
  std::vector<int32_t> ids;        // [rows * length]
  std::vector<int32_t> positions;  // [rows * length]; from 0 in each row, in each segment of isolated rows
  std::vector<int32_t> segments;   // [rows * length]; number of the document inside its row, from 0
  std::vector<int32_t> labels;     // [rows * length]; the next token, or kIgnoreLabel
  std::vector<Role> roles;         // [rows * length], or empty: all text
  bool isolated = false;           // tokens of two segments never see each other
  Objective objective = Objective::text;

  // What prepare() of an architecture draws and lays out; left alone by those that do not need it.
  // Flattened tokens at which a block opens, ascending. The first token of a text opens one anyway and need not be
  // listed.
  std::vector<int32_t> boundaries;
  // prefix_lm: tokens of each row's (each segment's, in isolated rows) first part. Drawn when empty, else taken.
  std::vector<int32_t> prefixes;
  // span_corruption: stretches of flattened tokens that are replaced, each inside one text. Drawn when empty, else
  // taken.
  std::vector<TokenRange> spans;
  bool two_sided = false;  // the pass computes over reader and writer instead of the rows
  ReaderSide reader;       // empty for models without an encoder
  WriterSide writer;

  int64_t tokens() const { return rows * length; }
  int64_t labelled() const {
    int64_t n = 0;
    for (int32_t label : labels) n += label != kIgnoreLabel;
    return n;
  }
  // What knows nothing of each other: the rows, or the segments of isolated rows, padding included. Flattened, in
  // order.
  std::vector<TokenRange> texts() const;
  bool is_padding(const TokenRange& text) const;
  // The labels that the loss is taken over.
  std::span<const int32_t> loss_labels() const { return two_sided ? writer.labels : labels; }
};

}  // namespace tandem
