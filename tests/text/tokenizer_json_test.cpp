// What a tokenizer.json may not say, and what becomes of damaged ones.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "text/detokenizer.h"
#include "text/helpers.h"
#include "text/tokenizer.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;
using test::message_of;
using test::small_tokenizer;

Tokenizer parse(const Json& json) { return Tokenizer::parse(json.dump(), "f.json"); }

std::string refusal(const std::function<void(Json&)>& change) {
  Json json = small_tokenizer();
  change(json);
  return message_of<InputError>([&] { parse(json); });
}

TEST(TokenizerJson, TheSmallOneIsFine) {
  Tokenizer tokenizer = parse(small_tokenizer());
  EXPECT_EQ(tokenizer.vocab_size(), 11);
  EXPECT_EQ(tokenizer.encode("abc ab<s>d"), (Ids{9, 10, 0, 4}));
  EXPECT_EQ(tokenizer.encode("abc", true), (Ids{0, 9}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 9, 10}), "<s>abc ab");
  EXPECT_EQ(tokenizer.decode(Ids{0, 9, 6, 7}, true), "abcé");
  EXPECT_EQ(tokenizer.token_to_id("abc"), 9);
  EXPECT_EQ(tokenizer.token_to_id("xyz"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(10), "Ġab");
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(9));
  EXPECT_EQ(tokenizer.json(), small_tokenizer().dump());
  EXPECT_EQ(tokenizer.hash().size(), 16u);
}

TEST(TokenizerJson, OldMergesAndMissingPartsAreFine) {
  Json json = small_tokenizer();
  json["model"]["merges"] = {"a b", "ab c", "Ġ ab"};
  for (const char* key : {"version", "truncation", "padding", "normalizer", "post_processor"}) json.erase(key);
  EXPECT_EQ(parse(json).encode("abc ab", true), (Ids{9, 10}));
  json.erase("decoder");
  EXPECT_EQ(parse(json).decode(Ids{1, 2}), "a b");
}

TEST(TokenizerJson, AddedTokensBehindTheVocabulary) {
  Json json = small_tokenizer();
  Json token = json["added_tokens"][0];
  token["id"] = 11;
  token["content"] = "<x>";
  token["special"] = false;
  json["added_tokens"].push_back(token);
  Tokenizer tokenizer = parse(json);
  EXPECT_EQ(tokenizer.vocab_size(), 12);
  EXPECT_EQ(tokenizer.encode("a<x>a"), (Ids{1, 11, 1}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 11}, true), "<x>");
}

struct Refused {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;  // its beginning
};

class TokenizerJsonRefuses : public testing::TestWithParam<Refused> {};

TEST_P(TokenizerJsonRefuses, WithTheKey) {
  std::string message = refusal(GetParam().change);
  EXPECT_TRUE(message.starts_with(GetParam().message)) << message;
}

const Refused kRefused[] = {
    {"version", [](Json& j) { j["version"] = "2.0"; },
     "unknown version of tokenizer.json: f.json: version: got \"2.0\""},
    {"truncation", [](Json& j) { j["truncation"] = Json::object(); },
     "'truncation' is not supported: f.json: truncation: got an object, expected null"},
    {"padding", [](Json& j) { j["padding"] = 1; }, "'padding' is not supported: f.json: padding: got 1"},
    {"no_model", [](Json& j) { j.erase("model"); }, "missing key: f.json: expected 'model'"},
    {"array", [](Json& j) { j = Json::array(); }, "wrong type: f.json: got an array of 0, expected an object"},
    {"model_type", [](Json& j) { j["model"]["type"] = "WordPiece"; },
     "unknown kind of model: f.json: model.type: got \"WordPiece\""},
    {"model_type_number", [](Json& j) { j["model"]["type"] = 3; },
     "wrong type: f.json: model.type: got 3, expected a string"},
    {"no_vocab", [](Json& j) { j["model"].erase("vocab"); }, "missing key: f.json: model: expected 'vocab'"},
    {"vocab_list", [](Json& j) { j["model"]["vocab"] = Json::array(); },
     "wrong type: f.json: model.vocab: got an array of 0, expected an object"},
    {"id_text", [](Json& j) { j["model"]["vocab"]["d"] = "4"; },
     "wrong type: f.json: model.vocab['d']: got \"4\", expected an integer"},
    {"id_fraction", [](Json& j) { j["model"]["vocab"]["d"] = 4.5; }, "wrong type: f.json: model.vocab['d']: got 4.5"},
    {"id_negative", [](Json& j) { j["model"]["vocab"]["d"] = -1; },
     "token id out of range: f.json: model.vocab['d']: got -1"},
    {"id_huge", [](Json& j) { j["model"]["vocab"]["d"] = 4000000000u; },
     "token id out of range: f.json: model.vocab['d']: got 4000000000"},
    {"id_larger", [](Json& j) { j["model"]["vocab"]["d"] = UINT64_MAX; },
     "wrong type: f.json: model.vocab['d']: got 18446744073709551615, expected an integer"},
    {"id_twice", [](Json& j) { j["model"]["vocab"]["d"] = 3; },
     "duplicate token id: f.json: model.vocab['d']: got 3, expected an id that 'c' does not have"},
    {"empty_token", [](Json& j) { j["model"]["vocab"][""] = 11; },
     "empty token in the vocabulary: f.json: model.vocab['']"},
    {"merges_object", [](Json& j) { j["model"]["merges"] = Json::object(); },
     "wrong type: f.json: model.merges: got an object, expected an array"},
    {"merge_unknown",
     [](Json& j) {
       j["model"]["merges"].push_back({"a", "x"});
     },
     "merge of unknown tokens: f.json: model.merges[3]: got 'a' and 'x', expected 'x' in model.vocab"},
    {"merge_result",
     [](Json& j) {
       j["model"]["merges"].push_back({"a", "c"});
     },
     "merge of unknown tokens: f.json: model.merges[3]: got 'a' and 'c', expected 'ac' in model.vocab"},
    {"merge_of_three",
     [](Json& j) {
       j["model"]["merges"][1] = {"a", "b", "c"};
     },
     "merge of another number than two: f.json: model.merges[1]: got an array of 3"},
    {"merge_text", [](Json& j) { j["model"]["merges"][1] = "ab"; },
     "merge of another number than two: f.json: model.merges[1]: got \"ab\""},
    {"merge_number",
     [](Json& j) {
       j["model"]["merges"][0] = {"a", 2};
     },
     "wrong type: f.json: model.merges[0][1]: got 2, expected a string"},
    {"merge_null", [](Json& j) { j["model"]["merges"][2] = nullptr; }, "wrong type: f.json: model.merges[2]: got null"},
    {"unk", [](Json& j) { j["model"]["unk_token"] = "<unk>"; },
     "unknown token is not in the vocabulary: f.json: model.unk_token: got \"<unk>\""},
    {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; },
     "'dropout' is not supported: f.json: model.dropout: got 0.1"},
    {"prefix", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
     "'continuing_subword_prefix' is not supported: f.json: model.continuing_subword_prefix: got \"##\""},
    {"fuse", [](Json& j) { j["model"]["fuse_unk"] = "no"; },
     "wrong type: f.json: model.fuse_unk: got \"no\", expected true or false"},
    {"added_id", [](Json& j) { j["added_tokens"][0]["id"] = 1; },
     "id of the added token '<s>' does not fit the vocabulary: f.json: added_tokens[0].id: got 1, expected 0"},
    {"added_far", [](Json& j) { j["added_tokens"][0]["id"] = 999999999999; },
     "id of the added token '<s>' does not fit the vocabulary: f.json: added_tokens[0].id: got 999999999999"},
    {"added_twice", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); },
     "added token given twice: f.json: added_tokens[1].content: got \"<s>\""},
    {"added_empty", [](Json& j) { j["added_tokens"][0]["content"] = ""; },
     "empty added token: f.json: added_tokens[0].content"},
    {"added_key", [](Json& j) { j["added_tokens"][0].erase("lstrip"); },
     "missing key: f.json: added_tokens[0]: expected 'lstrip'"},
    {"added_bool", [](Json& j) { j["added_tokens"][0]["special"] = 1; },
     "wrong type: f.json: added_tokens[0].special: got 1, expected true or false"},
    {"normalizer",
     [](Json& j) {
       j["normalizer"] = {{"type", "Upper"}};
     },
     "unknown kind of normalizer: f.json: normalizer.type: got \"Upper\""},
    {"normalizer_text", [](Json& j) { j["normalizer"] = "NFC"; },
     "wrong type: f.json: normalizer: got \"NFC\", expected an object with the key 'type'"},
    {"normalizer_inside",
     [](Json& j) {
       j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "X"}}}}};
     },
     "unknown kind of normalizer: f.json: normalizer.normalizers[0].type: got \"X\""},
    {"strip",
     [](Json& j) {
       j["normalizer"] = {{"type", "Strip"}, {"strip_left", true}};
     },
     "missing key: f.json: normalizer: expected 'strip_right'"},
    {"replace",
     [](Json& j) {
       j["normalizer"] = {{"type", "Replace"}, {"pattern", "a"}, {"content", "b"}};
     },
     "unknown pattern: f.json: normalizer.pattern: got \"a\""},
    {"pre_tokenizer", [](Json& j) { j["pre_tokenizer"]["type"] = "Bert"; },
     "unknown kind of pre-tokenizer: f.json: pre_tokenizer.type: got \"Bert\""},
    {"regex",
     [](Json& j) {
       j["pre_tokenizer"] = {
           {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}, {"invert", false}};
     },
     "regular expression does not compile: f.json: pre_tokenizer.pattern: got '(a'"},
    {"behavior",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Cut"}, {"invert", false}};
     },
     "unknown behavior: f.json: pre_tokenizer.behavior: got \"Cut\""},
    {"metaspace",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}};
     },
     "wrong length: f.json: pre_tokenizer.replacement: got \"__\", expected one character"},
    {"post_processor", [](Json& j) { j["post_processor"]["type"] = "Frame"; },
     "unknown kind of post-processor: f.json: post_processor.type: got \"Frame\""},
    {"template_id", [](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"] = {11}; },
     "id outside the vocabulary: f.json: post_processor.special_tokens.<s>.ids[0]: got 11, expected 0 to 10"},
    {"template_name", [](Json& j) { j["post_processor"]["special_tokens"] = Json::object(); },
     "token is not in 'special_tokens': f.json: post_processor.single[0].SpecialToken.id: got \"<s>\""},
    {"template_text", [](Json& j) { j["post_processor"]["single"].erase(1); },
     "template without exactly one text: f.json: post_processor.single"},
    {"template_piece", [](Json& j) { j["post_processor"]["single"][0] = Json::object(); },
     "unknown piece of a template: f.json: post_processor.single[0]"},
    {"decoder", [](Json& j) { j["decoder"]["type"] = "CTC"; },
     "unknown kind of decoder: f.json: decoder.type: got \"CTC\""},
    {"decoder_strip",
     [](Json& j) {
       j["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}};
     },
     "negative number of characters: f.json: decoder.start: got -1"},
    {"nothing",
     [](Json& j) {
       j = {{"model", {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}}}};
     },
     "empty vocabulary: f.json: model.vocab"},
};

INSTANTIATE_TEST_SUITE_P(BadInput, TokenizerJsonRefuses, testing::ValuesIn(kRefused),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(TokenizerJson, RefusesBrokenFiles) {
  test::TemporaryFolder folder;
  EXPECT_NE(message_of<InputError>([&] { Tokenizer::load(folder.path() / "none.json"); }).find("none.json"),
            std::string::npos);
  std::string json = small_tokenizer().dump();
  for (size_t size : {size_t{0}, size_t{1}, json.size() / 2, json.size() - 1}) {
    EXPECT_THROW(Tokenizer::parse(json.substr(0, size), "f.json"), InputError) << size;
  }
  json.insert(json.find("\"vocab\":{") + 9, "\"a\":1,");
  EXPECT_NE(message_of<InputError>([&] { Tokenizer::parse(json, "f.json"); }).find("duplicate key"), std::string::npos);
}

TEST(Tokenizer, RefusesWhatItCannotEncodeOrDecode) {
  Json json = small_tokenizer();
  json["model"]["vocab"]["zz"] = 20;  // 11 to 19 are holes
  Tokenizer tokenizer = parse(json);
  EXPECT_EQ(message_of<InputError>([&] { tokenizer.encode("ab\xC3("); }),
            "text is not UTF-8: got byte 0xC3 at offset 2, expected valid UTF-8");
  EXPECT_EQ(message_of<InputError>([&] {
              tokenizer.decode(Ids{1, 21});
            }),
            "id outside the vocabulary: got 21, expected 0 to 20");
  EXPECT_EQ(message_of<InputError>([&] { tokenizer.decode(Ids{-1}); }),
            "id outside the vocabulary: got -1, expected 0 to 20");
  EXPECT_EQ(message_of<InputError>([&] { tokenizer.id_to_token(12); }),
            "id outside the vocabulary: got 12, expected an id that has a token");
  EXPECT_THROW(Detokenizer(tokenizer).push(12), InputError);
}

// Damages a file in the ways that files get damaged, and in some that an attacker would choose.
std::string mutate(const std::string& json, Rng& rng) {
  constexpr std::string_view kChunks[] = {
      "null",     "-1",        "1e9",     "99999999999", "\"\"",  "[]",      "{}",           "true",
      "\"type\"", "\xFF",      "\\u0000", "[[",          "\"a\"", "\"BPE\"", "\"Sequence\"", "18446744073709551615",
      "0.5",      "\"Regex\"", "(*",      "\"<s>\""};
  std::string out = json;
  for (uint32_t n = rng.below(4) == 0 ? 2 : 1; n > 0 && !out.empty(); --n) {
    size_t at = rng.below(static_cast<uint32_t>(out.size()));
    std::string_view chunk = kChunks[rng.below(std::size(kChunks))];
    switch (rng.below(5)) {
      case 0: out[at] = static_cast<char>(rng.below(256)); break;
      case 1: out.erase(at, 1 + rng.below(20)); break;
      case 2: out.insert(at, chunk); break;
      case 3: {  // a whole value by another one
        size_t colon = out.find_first_of(":[,", at);
        size_t end = colon == std::string::npos ? colon : out.find_first_of(",]}", colon + 1);
        if (end != std::string::npos) out.replace(colon + 1, end - colon - 1, chunk);
        break;
      }
      default: {  // a part again somewhere else
        std::string part = out.substr(rng.below(static_cast<uint32_t>(out.size())), 1 + rng.below(40));
        out.insert(at, part);
      }
    }
  }
  return out;
}

TEST(TokenizerJson, DamagedFilesAreReadOrRefused) {
  Json json = small_tokenizer();
  json["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFKC"},
      {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Prepend", "prepend": "a"}]})");
  json["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits",
      "individual_digits": true}, {"type": "Split", "pattern": {"Regex": "[^\\s\\p{L}]?\\p{L}+|\\s+"},
      "behavior": "MergedWithNext", "invert": false}, {"type": "ByteLevel", "add_prefix_space": true}]})");
  json["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "a"},
      "content": "b"}, {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "_"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 2}, {"type": "Fuse"}, {"type": "ByteLevel"}]})");
  const std::string good = json.dump();
  Rng rng(17, 0);
  int loaded = 0;
  int refused = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string damaged = mutate(good, rng);
    try {
      Tokenizer tokenizer = Tokenizer::parse(damaged, "f.json");
      ++loaded;
      Ids ids = tokenizer.encode("abc ab <s> dé 12\n", true);
      std::string text = tokenizer.decode(ids);
      Detokenizer detokenizer(tokenizer);
      std::string pieces;
      for (int32_t id : ids) pieces += detokenizer.push(id);
      ASSERT_EQ(pieces + detokenizer.finish(), text);
    } catch (const InputError& error) {
      ++refused;
      ASSERT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    }
  }
  EXPECT_GT(loaded, 300) << "the mutations must not be so coarse that nothing is ever read";
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace tandem
