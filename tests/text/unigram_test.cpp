#include "text/unigram.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "text/character_map.h"
#include "text/helpers.h"
#include "text/tokenizer.h"

namespace tandem {
namespace {

using Ids = std::vector<int32_t>;
using test::message_of;

Ids encode(const UnigramModel& model, std::string_view word) {
  Ids ids;
  model.encode_word(word, ids);
  return ids;
}

TEST(Unigram, TakesTheHighestSum) {
  UnigramModel model({"<unk>", "a", "b", "c", "d", "cd", "ab", "abc", "abcd"}, {0, 0, 0, 0, 0, 1, 2, 5, 10}, 0, false);
  EXPECT_EQ(encode(model, "abcdacdxx"), (Ids{8, 1, 5, 0}));  // unknown neighbours are one
  EXPECT_EQ(encode(model, "éabxc"), (Ids{0, 6, 0, 3}));
  EXPECT_EQ(encode(model, "cd"), (Ids{5}));
}

TEST(Unigram, UnknownCharacters) {
  UnigramModel bytes({"<unk>", "a", "<0xC3>", "<0xA9>"}, {0, -1, -2, -2}, 0, true);
  EXPECT_EQ(encode(bytes, "aéa"), (Ids{1, 2, 3, 1}));
  EXPECT_EQ(encode(bytes, "aä"), (Ids{1, 0}));
  UnigramModel strict({"a"}, {0}, std::nullopt, false);
  EXPECT_EQ(message_of<InputError>([&] { encode(strict, "aé"); }),
            "character outside the vocabulary: got 'é', expected characters of the tokenizer's tokens: it has no "
            "unknown token");
}

std::string refusal(const char* key, const Json& value) {
  Json model = Json::parse(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5]]})");
  model[key] = value;
  return message_of<InputError>([&] { Tokenizer::parse(Json{{"model", model}}.dump(), "f.json"); });
}

TEST(Unigram, RefusesWhatDoesNotFit) {
  EXPECT_TRUE(refusal("unk_id", 2).starts_with("id outside the vocabulary: f.json: model.unk_id: got 2"));
  EXPECT_TRUE(refusal("vocab", Json::array()).starts_with("empty vocabulary: f.json: model.vocab"));
  EXPECT_TRUE(refusal("vocab", Json::parse(R"([["a", 0], ["a", 1]])"))
                  .starts_with("token given twice: f.json: model.vocab[1][0]"));
  EXPECT_TRUE(refusal("vocab", Json::parse(R"([["a", "0"]])")).starts_with("wrong type: f.json: model.vocab[0][1]"));
  EXPECT_TRUE(refusal("vocab", Json::parse(R"([["a"]])")).starts_with("wrong length: f.json: model.vocab[0]"));
  EXPECT_TRUE(refusal("vocab", Json::parse(R"([["", 0]])")).starts_with("empty token"));
}

// A trie with the one key "a", whose replacement is "xy".
std::string small_map() {
  constexpr uint32_t kUnits[] = {0x60u << 10, 3u << 10 | 0x100 | 'a', 0x80000000u};
  constexpr uint32_t kSize = sizeof kUnits;
  std::string bytes(reinterpret_cast<const char*>(&kSize), 4);
  bytes.append(reinterpret_cast<const char*>(kUnits), kSize);
  return bytes + std::string("xy\0", 3);
}

TEST(CharacterMap, ReplacesWhatTheTrieHas) {
  CharacterMap map(small_map(), "f.json: map");
  EXPECT_EQ(map.apply("banané"), "bxynxyné");
  EXPECT_EQ(map.apply("a\u0301."), "xy.");  // the cluster goes as a whole
  EXPECT_EQ(map.apply(""), "");
}

TEST(CharacterMap, BrokenTablesAreRefusedOrHarmless) {
  std::string file = "f.json";
  for (size_t size : {0, 3, 4, 8, 15}) {
    EXPECT_TRUE(message_of<InputError>([&] {
                  CharacterMap(small_map().substr(0, size), "f.json: map");
                }).starts_with("broken character map: f.json: map"));
  }
  Json no_base64 = "a*b";
  EXPECT_THROW(CharacterMap::read(JsonNode(no_base64, file, "map")), InputError);
  Rng rng(19, 0);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = small_map();
    for (uint32_t n = 1 + rng.below(3); n > 0; --n) {
      bytes[4 + rng.below(static_cast<uint32_t>(bytes.size()) - 4)] = static_cast<char>(rng.below(256));
    }
    try {
      std::string out = CharacterMap(bytes, "f.json: map").apply("banana \xC3\xA9 a\xCC\x81");
      ASSERT_EQ(valid_utf8_prefix(out), out.size());
    } catch (const InputError&) {
    }
  }
}

}  // namespace
}  // namespace tandem
