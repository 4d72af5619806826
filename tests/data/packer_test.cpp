#include "data/packer.h"

#include "base/json.h"
#include "data/heldout.h"
#include "helpers.h"

namespace tandem {
namespace {

using Rows = std::vector<std::vector<int32_t>>;

struct Packed {
  Rows ids;
  Rows segments;
};

Packed pack(const Documents& documents, const PackRule& rule) {
  Packed packed;
  RowPacker packer(rule);
  for (const auto& document : documents) {
    std::vector<uint32_t> ids(document.begin(), document.end());
    std::span<const uint32_t> rest = ids;
    while (!rest.empty()) {
      rest = rest.subspan(packer.take(rest));
      if (!packer.full()) continue;
      packed.ids.emplace_back(packer.ids().begin(), packer.ids().end());
      packed.segments.emplace_back(packer.segments().begin(), packer.segments().end());
      packer.clear();
    }
  }
  return packed;
}

// The rules of the notes, written down a second time, token by token and without a state between rows.
Rows pack_slowly(const Documents& documents, const PackRule& rule) {
  Rows rows;
  std::vector<int32_t> row{rule.bos};
  auto full = [&] { return static_cast<int64_t>(row.size()) == rule.length; };
  for (const auto& document : documents) {
    for (size_t i = 0; i < document.size(); ++i) {
      if (full()) {
        rows.push_back(row);
        row = {rule.bos};
      }
      row.push_back(document[i]);
    }
    int64_t free = rule.length - static_cast<int64_t>(row.size());
    if (document.empty()) continue;
    if (free == 1) row.push_back(rule.eos);
    if (free > 2) row.insert(row.end(), {rule.eos, rule.bos});
    if (full()) {
      rows.push_back(row);
      row = {rule.bos};
    }
  }
  return rows;
}

std::vector<std::filesystem::path> golden_files() {
  std::filesystem::path root = TANDEM_SOURCE_DIR;
  std::vector<std::filesystem::path> files{root / "tests/golden/collators/packing.json"};
  auto whole = root / "../shared/golden/collators/collators.json";
  if (std::filesystem::exists(whole)) files.push_back(whole);
  return files;
}

TEST(Packer, EqualsTheAuthorsRows) {
  for (const auto& file : golden_files()) {
    int cases = 0;
    for (const Json& item : read_json(file)) {
      if (item["class"] != "build_packed_dataset") continue;
      PackRule rule{
          .length = item["params"]["ctx_len"], .bos = item["params"]["bos_id"], .eos = item["params"]["eos_id"]};
      EXPECT_EQ(pack(item["input"].get<Documents>(), rule).ids, item["output"].get<Rows>()) << item["name"];
      ++cases;
    }
    EXPECT_EQ(cases, 7) << file;
  }
}

TEST(Packer, LabelsEqualTheAuthors) {
  for (const auto& file : golden_files()) {
    int cases = 0;
    for (const Json& item : read_json(file)) {
      std::string kind = item["class"];
      if (kind != "DDPretrainCollator" && kind != "DecoderPretrainCollator") continue;
      Rows inputs = item["output"]["input_ids"].get<Rows>(), labels = item["output"]["labels"].get<Rows>();
      auto length = static_cast<int64_t>(inputs.at(0).size());
      PackRule rule{.length = length, .bos = item["params"]["bos_token_id"], .eos = item["params"]["eos_token_id"]};
      Batch batch = empty_batch(length);
      std::vector<int32_t> segments(inputs[0].size(), 0), expected;
      for (size_t row = 0; row < inputs.size(); ++row) {
        append_row(batch, inputs[row], segments, rule);
        expected.insert(expected.end(), labels[row].begin(), labels[row].end());
      }
      EXPECT_EQ(batch.labels, expected) << item["name"];
      EXPECT_EQ(batch.rows, static_cast<int64_t>(inputs.size()));
      ++cases;
    }
    EXPECT_GE(cases, 2) << file;
  }
}

TEST(Packer, EqualsTheRulesOnRandomDocuments) {
  Rng rng(5, 1);
  for (int round = 0; round < 500; ++round) {
    Documents documents = random_documents(rng, 1 + rng.below(12), 1 + rng.below(30));
    PackRule rule{.length = 2 + rng.below(20), .bos = 1, .eos = 2};
    EXPECT_EQ(pack(documents, rule).ids, pack_slowly(documents, rule));
  }
}

TEST(Packer, EveryTokenIsKeptInOrder) {
  Rng rng(6, 1);
  for (int round = 0; round < 100; ++round) {
    Documents documents = random_documents(rng, 20, 30);
    PackRule rule{.length = 2 + rng.below(20), .bos = 1, .eos = 2};
    std::vector<int32_t> before, after;
    for (const auto& document : documents) before.insert(before.end(), document.begin(), document.end());
    for (const auto& row : pack(documents, rule).ids) {
      for (int32_t id : row) {
        if (id != rule.bos && id != rule.eos) after.push_back(id);
      }
    }
    ASSERT_LE(after.size(), before.size());
    EXPECT_LT(before.size() - after.size(), static_cast<size_t>(rule.length));
    before.resize(after.size());
    EXPECT_EQ(after, before);
  }
}

TEST(Packer, SegmentsNumberTheDocumentsOfARow) {
  PackRule rule{.length = 8, .bos = 1, .eos = 2};
  EXPECT_EQ(pack({{5, 5}, {6, 6}}, rule).ids, (Rows{{1, 5, 5, 2, 1, 6, 6, 2}}));
  EXPECT_EQ(pack({{5, 5}, {6, 6}}, rule).segments, (Rows{{0, 0, 0, 0, 1, 1, 1, 1}}));
  // Two slots left: no mark between the documents, but two segments; the next row counts from 0 again.
  EXPECT_EQ(pack({{5, 5, 5, 5, 5}, {6, 6, 6, 6, 6, 6, 6, 6, 6}}, rule).ids,
            (Rows{{1, 5, 5, 5, 5, 5, 6, 6}, {1, 6, 6, 6, 6, 6, 6, 6}}));
  EXPECT_EQ(pack({{5, 5, 5, 5, 5}, {6, 6, 6, 6, 6, 6, 6, 6, 6}}, rule).segments,
            (Rows{{0, 0, 0, 0, 0, 0, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 0}}));
}

// Rows are the same; positions restart, and no document is asked for the beginning of the next.
TEST(Packer, IsolatedDocumentsHavePositionsOfTheirOwn) {
  Rng rng(7, 1);
  for (int round = 0; round < 200; ++round) {
    PackRule rule{.length = 2 + rng.below(20), .bos = 1, .eos = 2}, isolated = rule;
    isolated.isolated = true;
    Packed packed = pack(random_documents(rng, 1 + rng.below(12), 1 + rng.below(9)), rule);
    Batch open = empty_batch(rule), closed = empty_batch(isolated);
    for (size_t row = 0; row < packed.ids.size(); ++row) {
      append_row(open, packed.ids[row], packed.segments[row], rule);
      append_row(closed, packed.ids[row], packed.segments[row], isolated);
    }
    EXPECT_FALSE(open.isolated);
    EXPECT_TRUE(closed.isolated);
    EXPECT_EQ(open.ids, closed.ids);
    EXPECT_EQ(open.segments, closed.segments);
    for (size_t t = 0; t < closed.ids.size(); ++t) {
      bool opens = t % static_cast<size_t>(rule.length) == 0 || closed.segments[t] != closed.segments[t - 1];
      EXPECT_EQ(closed.positions[t], opens ? 0 : closed.positions[t - 1] + 1);
      EXPECT_EQ(open.positions[t], static_cast<int32_t>(t % static_cast<size_t>(rule.length)));
      bool last = t + 1 == closed.ids.size() || closed.segments[t + 1] != closed.segments[t];
      EXPECT_EQ(closed.labels[t], last ? kIgnoreLabel : open.labels[t]);
    }
  }
  // Two slots were left: without a mark the end of one document stands before the beginning of the next.
  PackRule rule{.length = 8, .bos = 1, .eos = 2, .isolated = true};
  Packed packed = pack({{5, 5, 5, 5, 5}, {6, 6, 6}}, rule);
  Batch batch = empty_batch(rule);
  append_row(batch, packed.ids[0], packed.segments[0], rule);
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{1, 5, 5, 5, 5, 5, 6, 6}));
  EXPECT_EQ(batch.labels, (std::vector<int32_t>{-100, 5, 5, 5, 5, -100, 6, -100}));
}

TEST(Packer, TheUnfinishedRowHasNoOpeningWithoutADocument) {
  PackRule rule{.length = 8, .bos = 1, .eos = 2};
  auto unfinished = [&](std::vector<uint32_t> document) {
    RowPacker packer(rule);
    packer.take(document);
    return std::vector<int32_t>(packer.ids().begin(), packer.ids().end());
  };
  EXPECT_EQ(unfinished({}), (std::vector<int32_t>{}));
  EXPECT_EQ(unfinished({5}), (std::vector<int32_t>{1, 5, 2}));
  EXPECT_EQ(unfinished({5, 5, 5, 5}), (std::vector<int32_t>{1, 5, 5, 5, 5, 2}));
  EXPECT_EQ(unfinished({5, 5, 5, 5, 5}), (std::vector<int32_t>{1, 5, 5, 5, 5, 5}));
}

TEST(Packer, RowsOfOneTokenAreRefused) { EXPECT_THROW(RowPacker({.length = 1, .bos = 1, .eos = 2}), InputError); }

TEST(HeldOut, DropsTheUnfinishedRowUnlessItIsTheOnlyOne) {
  TemporaryFolder folder;
  std::vector<int32_t> bytes(100, 4);
  bytes[1] = bytes[2] = 0;
  PackRule rule{.length = 6, .bos = 1, .eos = 2};

  // [1 5 6 2 1 7] and [1 8 9 5 ...: the second row stays unfinished.
  ShardSet two = write_shards(folder, {{5, 6}, {7, 8, 9, 5}});
  HeldOut rows(two, rule, bytes, 0);
  EXPECT_EQ(rows.rows(), 1);
  EXPECT_EQ(rows.all().ids, (std::vector<int32_t>{1, 5, 6, 2, 1, 7}));
  EXPECT_EQ(rows.all().labels, (std::vector<int32_t>{-100, 6, 2, -100, -100, -100}));
  EXPECT_EQ(rows.labelled(), 2);
  EXPECT_EQ(rows.text_bytes(), 4);  // EOS is no text

  ShardSet one = write_shards(folder, {{5, 6}});
  HeldOut shorter(one, rule, bytes, 0);
  EXPECT_EQ(shorter.rows(), 1);
  EXPECT_EQ(shorter.length(), 4);
  EXPECT_EQ(shorter.all().ids, (std::vector<int32_t>{1, 5, 6, 2}));
  EXPECT_EQ(shorter.all().positions, (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(shorter.text_bytes(), 4);

  ShardSet none = write_shards(folder, {{}});
  EXPECT_THROW(HeldOut(none, rule, bytes, 0), InputError);
}

TEST(HeldOut, ACapSpreadsTheRowsEvenly) {
  TemporaryFolder folder;
  std::vector<int32_t> bytes(100, 1);
  Documents documents(1);
  for (int32_t i = 0; i < 90; ++i) documents[0].push_back(3 + i);
  PackRule rule{.length = 10, .bos = 1, .eos = 2};
  ShardSet set = write_shards(folder, documents);
  HeldOut all(set, rule, bytes, 0), some(set, rule, bytes, 5);
  EXPECT_EQ(all.rows(), 10);
  EXPECT_EQ(some.rows(), 5);
  for (int64_t row = 0; row < 5; ++row) {
    EXPECT_EQ(some.batch(row, 1).ids, all.batch(2 * row, 1).ids);
    EXPECT_EQ(some.batch(row, 1).labels, all.batch(2 * row, 1).labels);
  }
  EXPECT_EQ(some.text_bytes(), some.labelled());
  EXPECT_EQ(all.batch(8, 100).rows, 2);
  EXPECT_EQ(all.batch(8, 100).tokens(), 20);
}

}  // namespace
}  // namespace tandem
