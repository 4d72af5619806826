#include <gtest/gtest.h>

#include "arch/double_decoder.h"
#include "arch/sides.h"
#include "base/error.h"
#include "formats/safetensors.h"
#include "kernels/plan_check.h"

namespace tandem::test {
namespace {

// The number of boundaries at or before a position.
int block_of(int64_t position, const std::vector<int32_t>& boundaries) {
  int block = 0;
  for (int32_t b : boundaries) block += b <= position;
  return block;
}

JointAttentionLayer::Plans plans_of(int64_t rows, int64_t length, const std::vector<int32_t>& boundaries,
                                    bool separate) {
  Batch batch;
  batch.rows = rows;
  batch.length = length;
  for (int64_t row = 0; row < rows; ++row) {
    for (int32_t t : boundaries) batch.boundaries.push_back(static_cast<int32_t>(row * length + t));
  }
  JointAttentionLayer::Plans plans;
  plan_blocks(plans, text_blocks(batch), separate);
  return plans;
}

// The rule in words: own block up to itself; all earlier blocks of the encoder's output; its key 0 always.
void check_plan(int64_t rows, int64_t length, const std::vector<int32_t>& boundaries) {
  JointAttentionLayer::Plans plans = plans_of(rows, length, boundaries, true);
  for (int64_t q = 0; q < rows * length; ++q) {
    for (int64_t k = 0; k < rows * length; ++k) {
      bool same_row = q / length == k / length;
      int own = block_of(q % length, boundaries), other = block_of(k % length, boundaries);
      bool self = same_row && own == other && k <= q, cross = same_row && (other < own || k % length == 0);
      ASSERT_EQ(sees(plans.joint, q, 0, k), self) << q << " " << k;
      ASSERT_EQ(sees(plans.joint, q, 1, k), cross) << q << " " << k;
      ASSERT_EQ(sees(plans.own_only, q, 0, k), self) << q << " " << k;
      ASSERT_EQ(sees(plans.memory_only, q, 0, k), cross) << q << " " << k;
    }
  }
  // Whatever the blocks are, position t sees t + 1 keys; block 0 has the encoder's key 0 besides.
  int64_t first_block = boundaries.empty() ? length : boundaries[0];
  EXPECT_EQ(plans.joint.allowed_pairs(), rows * (length * (length + 1) / 2 + first_block));
}

TEST(DoubleCausalPlan, FollowsTheRule) {
  check_plan(1, 12, {3, 7, 8});
  check_plan(2, 9, {2, 5});
  check_plan(3, 4, {1, 2, 3});
  check_plan(2, 5, {});
  check_plan(1, 1, {});
}

// The masks that the authors' code built, query by query.
void check_against_masks(const std::string& name) {
  std::filesystem::path own = std::filesystem::path(TANDEM_SOURCE_DIR) / "tests" / "golden" / name;
  std::filesystem::path shared = std::filesystem::path(TANDEM_SOURCE_DIR) / ".." / "shared" / "golden" / name;
  std::filesystem::path folder = std::filesystem::exists(own) ? own : shared;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << name << " is not there";
  SafetensorsFile io = SafetensorsFile::open(folder / "io.safetensors");
  Tensor self = io.tensor("mask.self"), cross = io.tensor("mask.cross"), blocks = io.tensor("blocks");
  std::vector<int32_t> boundaries;
  for (int64_t i = 0; i < blocks.elements(); ++i)
    boundaries.push_back(static_cast<int32_t>(load_element(blocks, i, 0)));
  int64_t length = self.rows();
  JointAttentionLayer::Plans plans = plans_of(1, length, boundaries, true);
  for (int64_t q = 0; q < length; ++q) {
    for (int64_t k = 0; k < length; ++k) {
      ASSERT_EQ(sees(plans.joint, q, 0, k), load_element(self, q, k) == 1) << q << " " << k;
      ASSERT_EQ(sees(plans.joint, q, 1, k), load_element(cross, q, k) == 1) << q << " " << k;
      ASSERT_EQ(sees(plans.own_only, q, 0, k), load_element(self, q, k) == 1) << q << " " << k;
      ASSERT_EQ(sees(plans.memory_only, q, 0, k), load_element(cross, q, k) == 1) << q << " " << k;
    }
  }
}

TEST(DoubleCausalPlan, EqualsTheMasksOfBddTiny) { check_against_masks("bdd_tiny"); }
TEST(DoubleCausalPlan, EqualsTheMasksOfBddUnshared) { check_against_masks("bdd_unshared"); }
TEST(DoubleCausalPlan, EqualsTheMasksOfBddLogitbias) { check_against_masks("bdd_logitbias"); }

TEST(DoubleCausalPlan, JointPlanAloneLeavesTheHalvesEmpty) {
  JointAttentionLayer::Plans plans = plans_of(1, 4, {2}, false);
  EXPECT_EQ(plans.joint.runs.size(), 2u);
  EXPECT_TRUE(plans.own_only.runs.empty());
  EXPECT_TRUE(plans.memory_only.runs.empty());
}

}  // namespace
}  // namespace tandem::test
