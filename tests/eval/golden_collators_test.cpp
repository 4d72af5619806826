#include "eval/golden_collators.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary_folder.h"

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

fs::path recorded() { return fs::path(TANDEM_SOURCE_DIR) / "tests/golden/collators"; }

const ParityCheck& find(const ParityReport& report, const std::string& tensor_class) {
  for (const ParityCheck& c : report.checks) {
    if (c.tensor_class == tensor_class) return c;
  }
  throw std::runtime_error("no check of " + tensor_class);
}

// A copy whose files tests change.
class Copy {
 public:
  // With the statistics of that file only, or with none.
  explicit Copy(const std::string& statistics = "") {
    fs::create_directory(path());
    fs::copy(recorded() / "collators.json", path() / "collators.json");
    if (!statistics.empty()) fs::copy(recorded() / statistics, path() / statistics);
  }

  fs::path path() const { return folder_ / "case"; }
  Json read(const char* file) const { return read_json(path() / file); }
  void write(const char* file, const Json& json) const {
    fs::permissions(path() / file, fs::perms::owner_all);
    write_file_atomically(path() / file, json.dump());
  }

 private:
  TemporaryFolder folder_;
};

TEST(GoldenCollators, EveryCaseIsEqual) {
  ParityReport report = check_collators(Copy().path());
  EXPECT_TRUE(report.ok());
  for (const ParityCheck& c : report.checks) EXPECT_TRUE(c.ok) << c.tensor_class << " " << c.tensor << " " << c.worst;
  for (const char* name :
       {"build_packed_dataset", "DDPretrainCollator", "DecoderPretrainCollator", "DDSFTCollator", "DecoderSFTCollator",
        "EDSFTCollator", "PrefixLMCollator", "DecoderPrefixLMCollator", "EDPretrainCollator"}) {
    EXPECT_EQ(find(report, name).worst, 0) << name;
    EXPECT_GT(find(report, name).compared, 3) << name;
  }
}

TEST(GoldenCollators, DrawsAreDistributedAsRecorded) {
  ParityReport report = check_collators(recorded());
  EXPECT_EQ(find(report, "boundary statistics").compared, 4 * 2);
  EXPECT_EQ(find(report, "span statistics").compared, 2 * 7);
  EXPECT_LT(find(report, "boundary statistics").worst, 1);
  EXPECT_LT(find(report, "span statistics").worst, 1);
  EXPECT_GT(find(report, "span statistics").worst, 0);
}

// One number of each list of each case, changed.
TEST(GoldenCollators, AChangedNumberIsNoticed) {
  const Json cases = Copy().read("collators.json");
  Copy copy;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Json& output = cases[i]["output"];
    std::vector<Json::json_pointer> places;
    if (output.is_array()) {
      places.push_back(Json::json_pointer(fmt::format("/{}/output/0/1", i)));
    } else {
      for (const auto& [key, value] : output.items()) {
        if (key == "sft" || key == "blocks_of_4_calls") continue;
        places.push_back(Json::json_pointer(fmt::format("/{}/output/{}{}", i, key, key == "blocks" ? "/0" : "/0/0")));
      }
    }
    for (const auto& place : places) {
      Json changed = cases;
      changed[place] = changed[place].get<int>() + 1;
      copy.write("collators.json", Json::array({changed[i]}));
      EXPECT_FALSE(check_collators(copy.path()).ok()) << place.to_string();
    }
  }
}

TEST(GoldenCollators, ImpossibleBoundariesAreNoticed) {
  Json cases = Copy().read("collators.json");
  Copy copy;
  for (Json& one : cases) {
    if (!one["output"].contains("blocks_of_4_calls")) continue;
    for (Json bad : {Json::array({1}), Json::array({31, 5}), Json::array({2, 3, 4, 5, 6, 7, 8, 9, 10, 11})}) {
      Json changed = one;
      changed["output"]["blocks_of_4_calls"][2] = bad;
      copy.write("collators.json", Json::array({changed}));
      EXPECT_FALSE(check_collators(copy.path()).ok()) << one["name"] << " " << bad;
    }
  }
}

// Each by about twice what chance may give.
TEST(GoldenCollators, OtherDistributionsAreNoticed) {
  for (const char* place : {"/random_uniform/position_hist_64/3", "/logspace/n_boundaries_hist/4",
                            "/single_middle/position_hist_64/20", "/prompt_style/position_hist_64/2"}) {
    Copy copy("boundary_stats.json");
    Json stats = copy.read("boundary_stats.json");
    Json& n = stats[Json::json_pointer(place)];
    n = n.get<double>() * 1.25 + 40;
    copy.write("boundary_stats.json", stats);
    EXPECT_FALSE(check_collators(copy.path()).ok()) << place;
  }
  for (const auto& [place, change] : {std::pair{"/plain/masked/mean", 3.0},
                                      {"/packed/spans/mean", 0.6},
                                      {"/plain/encoder_length/mean", -3.0},
                                      {"/packed/decoder_length/mean", 3.0},
                                      {"/plain/span_length_hist/4", 4000.0},
                                      {"/plain/masked_position_hist_64/31", 12000.0},
                                      {"/packed/share_of_draws_that_reach_target", 0.1}}) {
    Copy copy("span_stats.json");
    Json stats = copy.read("span_stats.json");
    Json& n = stats[Json::json_pointer(place)];
    n = n.get<double>() + change;
    copy.write("span_stats.json", stats);
    EXPECT_FALSE(check_collators(copy.path()).ok()) << place;
  }
}

TEST(GoldenCollators, BoundariesOfTheAuthorsEvaluation) {
  Copy copy("eval_blocks.json");
  ParityReport report = check_collators(copy.path());
  EXPECT_EQ(find(report, "evaluation blocks").compared, 19);
  EXPECT_EQ(find(report, "evaluation blocks").worst, 0);
  Json blocks = copy.read("eval_blocks.json");
  blocks["1024"][2] = 328;
  copy.write("eval_blocks.json", blocks);
  EXPECT_FALSE(check_collators(copy.path()).ok());
  copy.write("eval_blocks.json", {{"long", {1}}});
  EXPECT_THROW(check_collators(copy.path()), InputError);
}

TEST(GoldenCollators, FilesOfAnotherFormAreInputErrors) {
  Json unknown = {{"name", "x"},
                  {"class", "Unheard"},
                  {"params", Json::object()},
                  {"input", Json::array()},
                  {"output", Json::object()}};
  Json text = Copy().read("collators.json")[7];
  Json no_labels = text, words = text;
  no_labels["output"].erase("labels");
  words["input"][0]["input_ids"][3] = "word";
  for (const Json& bad : {Json::object(), Json::array(), Json::array({5}), Json::array({unknown}),
                          Json::array({no_labels}), Json::array({words})}) {
    Copy copy;
    copy.write("collators.json", bad);
    EXPECT_THROW(check_collators(copy.path()), InputError) << bad.dump().substr(0, 80);
  }
}

TEST(GoldenCollators, AreFoundByTheirFile) {
  EXPECT_TRUE(has_golden_collators(recorded()));
  EXPECT_FALSE(has_golden_collators(recorded() / ".."));
  EXPECT_EQ(read_golden_case(recorded()).kind, GoldenKind::collators);
}

}  // namespace
}  // namespace tandem::test
