#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace tandem {
namespace {

using test::message_of;

std::string refusal(std::string_view text) {
  return message_of<InputError>([&] { parse_json(text, "f.json"); });
}

TEST(ParseJson, ReadsWhatIsJson) {
  Json json = parse_json(R"( {"a": [1, -2.5e3, true, null, "\u00fc\ud83d\ude00"], "b": {}} )", "f");
  EXPECT_EQ(json["a"][0], 1);
  EXPECT_EQ(json["a"][1], -2500.0);
  EXPECT_EQ(json["a"][4], "ü😀");
  EXPECT_EQ(parse_json("18446744073709551615", "f").get<uint64_t>(), UINT64_MAX);
}

TEST(ParseJson, NamesTheLine) {
  EXPECT_TRUE(refusal("{\"a\": 1,\n\"b\": 2,\n}").starts_with("cannot parse JSON: f.json:3: ")) << refusal("{\n}}");
  EXPECT_TRUE(refusal("").starts_with("cannot parse JSON: f.json:1"));
}

TEST(ParseJson, RefusesWhatIsNot) {
  for (const char* text :
       {"{", "[1,]", "{\"a\":1}x", "{\"a\" 1}", "nul", "01", "'a'", "[1 2]", "\"\x01\"", "NaN", "{\"a\":1} {}",
        "// c\n1", "\"\\ud800\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "1e999", "[\"\xe2\x82\"]"}) {
    EXPECT_THROW(parse_json(text, "f"), InputError) << text;
  }
}

TEST(ParseJson, RefusesNulBytes) {
  EXPECT_EQ(refusal(std::string("{}\n\0garbage", 11)), "cannot parse JSON: f.json:2: got a NUL byte");
  EXPECT_THROW(parse_json(std::string("\"a\0b\"", 5), "f"), InputError);
}

TEST(ParseJson, RefusesDuplicateKeys) {
  EXPECT_EQ(refusal(R"({"a": 1, "b": {"a": 2}, "a": 3})"), "duplicate key in JSON: f.json: got 'a' twice");
  EXPECT_NO_THROW(parse_json(R"([{"a": 1}, {"a": 2}])", "f"));
}

TEST(ParseJson, BoundsTheDepth) {
  auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_NO_THROW(parse_json(nested(200), "f"));
  EXPECT_THROW(parse_json(nested(201), "f"), InputError);
  EXPECT_THROW(parse_json(std::string(1'000'000, '['), "f"), InputError);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THROW(parse_json(objects, "f"), InputError);
}

TEST(JsonAccess, ChecksTheType) {
  Json json = parse_json(R"({"s": "x", "i": 3, "n": 0.5, "b": true, "big": 9223372036854775808})", "f");
  EXPECT_EQ(json_string(json, "s", "f"), "x");
  EXPECT_EQ(json_int(json, "i", "f"), 3);
  EXPECT_EQ(json_number(json, "n", "f"), 0.5);
  EXPECT_EQ(json_number(json, "i", "f"), 3.0);
  EXPECT_TRUE(json_bool(json, "b", "f"));
  EXPECT_THROW(json_int(json, "n", "f"), InputError);
  EXPECT_THROW(json_int(json, "big", "f"), InputError);
  EXPECT_THROW(json_bool(json, "i", "f"), InputError);
  EXPECT_THROW(json_number(json, "s", "f"), InputError);
  EXPECT_EQ(message_of<InputError>([&] { json_string(json, "i", "f"); }),
            "wrong type of 'i': f: got 3, expected a string");
  EXPECT_EQ(message_of<InputError>([&] { json_at(json, "none", "f"); }), "missing key in JSON: f: expected 'none'");
  EXPECT_THROW(json_at(Json::array({1}), "a", "f"), InputError);
}

TEST(ReadJson, NamesTheFile) {
  test::TemporaryFolder folder;
  write_file_atomically(folder / "a.json", "{\n!");
  EXPECT_TRUE(message_of<InputError>([&] {
                read_json(folder / "a.json");
              }).starts_with("cannot parse JSON: " + (folder / "a.json").string() + ":2"));
}

}  // namespace
}  // namespace tandem
