#include "base/fields.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/toml.h"

namespace tandem {
namespace {

enum class Colour { kRed, kBlue };

struct Paint {
  Colour colour = Colour::kRed;
  double thickness = 0.5;
  int64_t coats = 2;
};

struct House {
  std::string name = "home";
  bool garden = false;
  int64_t rooms = 3;
  std::vector<std::string> people;
  Paint inside;
  Paint outside;
};

void list_fields(FieldList& fields, Paint& paint) {
  fields.add_enum<Colour>("colour", paint.colour,
                          {{"red", Colour::kRed}, {"crimson", Colour::kRed}, {"blue", Colour::kBlue}}, "which paint");
  fields.add("thickness", paint.thickness, "millimetres");
  fields.add("coats", paint.coats, "layers of paint");
}

void list_fields(FieldList& fields, House& house) {
  fields.add("name", house.name, "what it is called");
  fields.add("garden", house.garden, "has a garden");
  fields.add("rooms", house.rooms, "number of rooms");
  fields.add("people", house.people, "who lives there");
  fields.group("inside", [&](FieldList& list) { list_fields(list, house.inside); });
  fields.group("outside", [&](FieldList& list) {
    list_fields(list, house.outside);
    // Only one field of the house ends in ".roof".
    list.add("roof", house.outside.coats, "layers on the roof");
  });
}

struct FieldsTest : ::testing::Test {
  FieldsTest() { list_fields(fields, house); }

  // The message of the InputError that `action` throws; a failure when it throws none.
  template <class Action>
  std::string error_of(Action action) {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    ADD_FAILURE() << "no InputError";
    return "";
  }

  House house;
  FieldList fields;
};

TEST_F(FieldsTest, TomlSetsFields) {
  apply_toml_text(fields,
                  "name = 'villa'\ngarden = true\nrooms = 7\npeople = ['Ann', 'Bob']\n"
                  "[inside]\ncolour = 'blue'\nthickness = 2\n[outside]\ncolour = 'crimson'\n",
                  "x.toml");
  EXPECT_EQ(house.name, "villa");
  EXPECT_TRUE(house.garden);
  EXPECT_EQ(house.rooms, 7);
  EXPECT_EQ(house.people, (std::vector<std::string>{"Ann", "Bob"}));
  EXPECT_EQ(house.inside.colour, Colour::kBlue);
  EXPECT_EQ(house.inside.thickness, 2.0);
  EXPECT_EQ(house.outside.colour, Colour::kRed);
  EXPECT_EQ(house.inside.coats, 2);  // left out: keeps its value
}

// A default that is written down counts as set.
TEST_F(FieldsTest, KnowsWhatWasSet) {
  EXPECT_FALSE(fields.was_set("rooms"));
  fields.set("rooms", 3, "test");
  fields.set_text("roof", "2", "test");
  fields.apply(Json{{"inside", {{"colour", "blue"}}}}, "test");
  for (const std::string& name : fields.names()) {
    bool expected = name == "rooms" || name == "outside.roof" || name == "inside.colour";
    EXPECT_EQ(fields.was_set(name), expected) << name;
  }
  EXPECT_THROW(fields.set("garden", 5, "test"), InputError);
  EXPECT_FALSE(fields.was_set("garden"));
}

TEST_F(FieldsTest, UnknownKeysNameFileLineAndNearestKey) {
  EXPECT_EQ(error_of([&] { apply_toml_text(fields, "name = 'x'\nromos = 3\n", "x.toml"); }),
            "unknown key: x.toml:2: got 'romos'; the nearest known key is 'rooms'");
  EXPECT_EQ(error_of([&] { apply_toml_text(fields, "[inside]\n\nthicknes = 3\n", "x.toml"); }),
            "unknown key: x.toml:3: got 'inside.thicknes'; the nearest known key is 'inside.thickness'");
  EXPECT_EQ(error_of([&] { apply_toml_text(fields, "[insde]\ncoats = 3\n", "x.toml"); }).substr(0, 33),
            "unknown key: x.toml:1: got 'insde");
  EXPECT_EQ(error_of([&] { fields.apply(Json::parse(R"({"inside": {"roof": 1}})"), "c.json"); }),
            "unknown key: c.json: got 'inside.roof'; the nearest known key is 'outside.roof'");
  EXPECT_EQ(fields.nearest("nmae"), "name");
}

TEST_F(FieldsTest, WrongTypesNameFieldGotAndExpected) {
  auto toml_error = [&](std::string text) { return error_of([&] { apply_toml_text(fields, text, "x.toml"); }); };
  EXPECT_EQ(toml_error("rooms = 2.5"), "bad value of 'rooms': x.toml:1: got 2.5, expected an integer");
  EXPECT_EQ(toml_error("rooms = '2'"), "bad value of 'rooms': x.toml:1: got \"2\", expected an integer");
  EXPECT_EQ(toml_error("garden = 1"), "bad value of 'garden': x.toml:1: got 1, expected true or false");
  EXPECT_EQ(toml_error("people = [1]"), "bad value of 'people': x.toml:1: got [1], expected a list of texts");
  EXPECT_EQ(toml_error("name = 4"), "bad value of 'name': x.toml:1: got 4, expected text");
  EXPECT_EQ(toml_error("inside = 4"), "bad value of 'inside': x.toml:1: got 4, expected a table of keys");
  EXPECT_EQ(toml_error("[inside]\ncolour = 'green'"),
            "bad value of 'inside.colour': x.toml:2: got \"green\", expected red|blue");
  EXPECT_NE(toml_error("[inside]\nthickness = nan").find("expected a finite number"), std::string::npos);
  EXPECT_NE(toml_error("[inside]\nthickness = -inf").find("expected a finite number"), std::string::npos);
  EXPECT_NE(toml_error("name = 1979-05-27").find("x.toml:1: got a date or time"), std::string::npos);
  EXPECT_EQ(house.rooms, 3);
  EXPECT_NE(error_of([&] { fields.set("rooms", uint64_t{1} << 63, "c.json"); }).find("below 2^63"), std::string::npos);
}

TEST_F(FieldsTest, TomlThatDoesNotParseNamesTheLine) {
  std::string message = error_of([&] { apply_toml_text(fields, "name = 'x'\nrooms = = 3\n", "x.toml"); });
  EXPECT_EQ(message.find("cannot parse TOML: x.toml:2"), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  message = error_of([&] { apply_toml_text(fields, "rooms = 3\nrooms = 4\n", "x.toml"); });
  EXPECT_EQ(message.find("cannot parse TOML: x.toml:2"), 0u) << message;
  message = error_of([&] { apply_toml_text(fields, "name = \"\xff\"\n", "x.toml"); });
  EXPECT_EQ(message.find("cannot parse TOML: x.toml"), 0u) << message;
}

TEST_F(FieldsTest, OverridesParseByTypeAndMayBeShortened) {
  apply_override(fields, "rooms=12");
  apply_override(fields, "inside.coats=-5");
  apply_override(fields, "roof=9");
  apply_override(fields, "inside.thickness=1e-3");
  apply_override(fields, "name=a=b");
  apply_override(fields, "people=x,y z");
  apply_override(fields, "outside.colour=blue");
  EXPECT_EQ(house.rooms, 12);
  EXPECT_EQ(house.inside.coats, -5);
  EXPECT_EQ(house.outside.coats, 9);
  EXPECT_EQ(house.inside.thickness, 1e-3);
  EXPECT_EQ(house.name, "a=b");
  EXPECT_EQ(house.people, (std::vector<std::string>{"x", "y z"}));
  EXPECT_EQ(house.outside.colour, Colour::kBlue);
  apply_override(fields, "people=");
  EXPECT_TRUE(house.people.empty());

  EXPECT_EQ(error_of([&] { apply_override(fields, "coats=1"); }),
            "ambiguous key: command line: got 'coats', expected one of 'inside.coats', 'outside.coats'");
  EXPECT_NE(error_of([&] { apply_override(fields, "rooms"); }).find("expected key=value"), std::string::npos);
  EXPECT_NE(error_of([&] { apply_override(fields, "=3"); }).find("expected key=value"), std::string::npos);
  for (const char* bad :
       {"rooms=", "rooms=3.0", "rooms=9223372036854775808", "rooms=3x", "garden=yes", "inside.thickness=inf",
        "inside.thickness=nan", "inside.thickness=", "people=a,,b", "inside.colour=Red"}) {
    EXPECT_NE(error_of([&] { apply_override(fields, bad); }).find("bad value of"), std::string::npos) << bad;
  }
  EXPECT_NE(error_of([&] { apply_override(fields, "rooom=1"); }).find("'rooms'"), std::string::npos);
}

TEST_F(FieldsTest, JsonAndTomlRoundTrip) {
  house.name = "a \"quoted\"\nname \\ with \u00e9 and \x01";
  house.people = {"Ann", "B,ob"};
  house.inside = {Colour::kBlue, 1e-7, std::numeric_limits<int64_t>::min()};
  house.outside.thickness = 3.0;
  OrderedJson json = fields.to_json();
  EXPECT_EQ(json["inside"]["colour"], "blue");
  EXPECT_EQ(json.begin().key(), "name");

  House from_json, from_toml;
  FieldList json_fields, toml_fields;
  list_fields(json_fields, from_json);
  list_fields(toml_fields, from_toml);
  json_fields.apply(Json::parse(json.dump()), "c.json");
  apply_toml_text(toml_fields, to_toml(fields), "x.toml");
  EXPECT_EQ(json_fields.to_json(), json);
  EXPECT_EQ(toml_fields.to_json(), json);
}

TEST_F(FieldsTest, HelpListsNameTypeDefaultAndHelp) {
  std::string help = fields.help();
  EXPECT_NE(help.find("rooms"), std::string::npos);
  EXPECT_NE(help.find("red|blue"), std::string::npos);
  EXPECT_EQ(help.find("crimson"), std::string::npos);
  EXPECT_NE(help.find("number of rooms (default: 3)"), std::string::npos);
  EXPECT_NE(help.find("millimetres (default: 0.5)"), std::string::npos);
}

TEST_F(FieldsTest, FilesAreRead) {
  auto path = std::filesystem::temp_directory_path() / ("tandem_fields_" + std::to_string(::getpid()) + ".toml");
  std::ofstream(path) << "rooms = 5\n[outside]\nroof = 4\n";
  apply_toml(fields, path);
  EXPECT_EQ(house.rooms, 5);
  EXPECT_EQ(toml_to_json(path), Json::parse(R"({"rooms": 5, "outside": {"roof": 4}})"));
  std::filesystem::remove(path);
  EXPECT_THROW(apply_toml(fields, path), InputError);
}

TEST_F(FieldsTest, AddingANameTwiceIsABug) { EXPECT_THROW(fields.add("rooms", house.rooms, ""), LogicError); }

// A member with a text form of its own is read, written and refused like any other.
TEST(Fields, TextForms) {
  int64_t every = 3;
  auto make = [&] {
    FieldList fields;
    fields.add_form("when",
                    {.form = "never|every:N",
                     .text = [&] { return every ? fmt::format("every:{}", every) : std::string("never"); },
                     .assign =
                         [&](std::string_view text) {
                           if (text != "never" && text != "every:5") return false;
                           every = text == "never" ? 0 : 5;
                           return true;
                         }},
                    "when it happens");
    return fields;
  };
  FieldList fields = make();
  EXPECT_EQ(fields.get("when"), "every:3");
  EXPECT_NE(fields.help().find("never|every:N  when it happens (default: every:3)"), std::string::npos);
  fields.set_text("when", "never", "test");
  EXPECT_EQ(fields.to_json()["when"], "never");
  fields.apply(Json{{"when", "every:5"}}, "test");
  EXPECT_EQ(every, 5);
  for (const Json& bad : {Json("every:x"), Json(5), Json(nullptr)}) {
    EXPECT_THROW(fields.set("when", bad, "test"), InputError) << bad;
  }
  EXPECT_EQ(every, 5);
}

TEST(Fields, ListsOfNumbers) {
  std::vector<double> weights{1};
  FieldList fields;
  fields.add("weights", weights, "how much of each");
  apply_toml_text(fields, "weights = [3, 0.5, 1e-3]", "x.toml");
  EXPECT_EQ(weights, (std::vector<double>{3, 0.5, 1e-3}));
  apply_override(fields, "weights=2,-0.25");
  EXPECT_EQ(weights, (std::vector<double>{2, -0.25}));
  EXPECT_NE(fields.help().find("list of numbers"), std::string::npos);
  weights = {3, 1};
  apply_toml_text(fields, to_toml(fields), "written.toml");
  EXPECT_EQ(weights, (std::vector<double>{3, 1}));
  auto refused = [&](auto action) {
    EXPECT_THROW(action(), InputError);
    EXPECT_EQ(weights, (std::vector<double>{3, 1}));
  };
  for (const char* text : {"weights = 3", "weights = ['3']", "weights = [1, nan]", "weights = [true]"}) {
    refused([&] { apply_toml_text(fields, text, "x.toml"); });
  }
  for (const char* text : {"weights=1,", "weights=,1", "weights=1,x", "weights=1;2", "weights=inf"}) {
    refused([&] { apply_override(fields, text); });
  }
  apply_override(fields, "weights=");
  EXPECT_TRUE(weights.empty());
}

}  // namespace
}  // namespace tandem
