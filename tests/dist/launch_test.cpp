// How a process learns that it was started by mpirun.
#include "dist/launch.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/threads.h"
#include "dist/thread_ranks.h"

namespace tandem::test {
namespace {

class Environment : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) ::unsetenv(name);
  }
  void TearDown() override { SetUp(); }

  static constexpr const char* kNames[] = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE"};
};

TEST_F(Environment, AloneWithoutMpirun) {
  EXPECT_EQ(launch().size, 1);
  EXPECT_EQ(launch().rank, 0);
  std::unique_ptr<Communicator> ranks = connect();
  EXPECT_EQ(ranks->size(), 1);
  EXPECT_EQ(ranks->rank(), 0);
}

TEST_F(Environment, ReadsTheVariablesOfMpirun) {
  ::setenv("OMPI_COMM_WORLD_RANK", "2", 1);
  ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_EQ(launch().rank, 2);
  EXPECT_EQ(launch().size, 4);
}

TEST_F(Environment, OneProcessUnderMpirunIsAlone) {
  ::setenv("PMI_RANK", "0", 1);
  ::setenv("PMI_SIZE", "1", 1);
  EXPECT_EQ(launch().size, 1);
}

TEST_F(Environment, NonsenseIsNotBelieved) {
  ::setenv("OMPI_COMM_WORLD_RANK", "4", 1);
  ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_EQ(launch().size, 1);
  ::setenv("OMPI_COMM_WORLD_RANK", "1x", 1);
  EXPECT_EQ(launch().size, 1);
}

TEST(MachineShare, RanksOnTheSameCoresShareThem) {
  ThreadRanks ranks(2);
  ranks.run([](Communicator& comm) {
    MachineShare share = machine_share(comm);
    EXPECT_EQ(share.ranks, 2);
    EXPECT_EQ(share.threads, std::max(1, available_cores() / 2));
  });
}

}  // namespace
}  // namespace tandem::test
