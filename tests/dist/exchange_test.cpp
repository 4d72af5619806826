// Sums and copies over ranks that are threads: values, order of sums, bytes.
#include "dist/exchange.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "base/rng.h"
#include "dist/collectives.h"
#include "dist/thread_ranks.h"

namespace tandem::test {
namespace {

template <class T>
constexpr DType dtype_of() {
  return sizeof(T) == 4 ? DType::f32 : DType::f64;
}

template <class T>
std::vector<T> values_of(int rank, size_t n) {
  Rng rng(7, static_cast<uint64_t>(rank));
  std::vector<T> x(n);
  // Of very different size: another order of adding gives other bits.
  for (T& v : x) v = static_cast<T>((rng.uniform() - 0.5) * (rng.below(2) ? 1e4 : 1e-3));
  return x;
}

template <class T>
std::vector<T> sum_in_order(int ranks, size_t n) {
  std::vector<T> sum = values_of<T>(0, n);
  for (int rank = 1; rank < ranks; ++rank) {
    std::vector<T> x = values_of<T>(rank, n);
    for (size_t i = 0; i < n; ++i) sum[i] += x[i];
  }
  return sum;
}

// `cuts`: ends of the stretches; owners go round.
template <class T>
std::vector<Stretch> stretches_of(std::vector<T>& x, const std::vector<int64_t>& cuts, int ranks) {
  std::vector<Stretch> list;
  int64_t begin = 0;
  for (int64_t end : cuts) {
    list.push_back({Tensor(x.data() + begin, dtype_of<T>(), {end - begin}), static_cast<int>(list.size()) % ranks});
    begin = end;
  }
  return list;
}

// A rank that is late by a time of its own.
void dawdle(const Communicator& ranks, int round) {
  Rng rng(static_cast<uint64_t>(round), static_cast<uint64_t>(ranks.rank()));
  std::this_thread::sleep_for(std::chrono::microseconds(rng.below(2000)));
}

template <class T>
void all_reduce_gives_the_sum_in_order(int size) {
  const std::vector<int64_t> cuts{1, 3, 1030, 2054, 2055, 5000};
  const std::vector<T> expected = sum_in_order<T>(size, 5000);
  ThreadRanks ranks(size);
  ranks.run([&](Communicator& comm) {
    std::vector<T> x(5000);
    Exchange exchange(comm, stretches_of(x, cuts, size), ExchangeKind::all_reduce, kFirstFreeTag);
    for (int round = 0; round < 5; ++round) {
      std::vector<T> own = values_of<T>(comm.rank(), 5000);
      std::copy(own.begin(), own.end(), x.begin());
      dawdle(comm, round);
      exchange.start();
      exchange.wait();
      EXPECT_EQ(x, expected) << "rank " << comm.rank() << " of " << size;
    }
  });
  EXPECT_EQ(ranks.bytes_sent(), 5 * 2 * (size - 1) * 5000 * static_cast<int64_t>(sizeof(T)));
}

TEST(Exchange, AllReduceAddsInTheOrderOfRanks) {
  for (int size : {1, 2, 3, 4}) {
    all_reduce_gives_the_sum_in_order<float>(size);
    all_reduce_gives_the_sum_in_order<double>(size);
  }
}

TEST(Exchange, ReduceScatterLeavesOthersAloneAndAllGatherCompletes) {
  const std::vector<int64_t> cuts{700, 1500, 1501, 4000};
  const std::vector<float> expected = sum_in_order<float>(3, 4000);
  ThreadRanks ranks(3);
  ranks.run([&](Communicator& comm) {
    std::vector<float> x = values_of<float>(comm.rank(), 4000), own = x;
    Exchange reduce(comm, stretches_of(x, cuts, 3), ExchangeKind::reduce_scatter, kFirstFreeTag);
    Exchange gather(comm, stretches_of(x, cuts, 3), ExchangeKind::all_gather, kFirstFreeTag + 2);
    reduce.start();
    reduce.wait();
    size_t begin = 0;
    for (size_t i = 0; i < cuts.size(); ++i) {
      bool mine = static_cast<int>(i) % 3 == comm.rank();
      for (size_t at = begin; at < static_cast<size_t>(cuts[i]); ++at) {
        ASSERT_EQ(x[at], mine ? expected[at] : own[at]) << at;
      }
      begin = static_cast<size_t>(cuts[i]);
    }
    gather.start();
    gather.wait();
    EXPECT_EQ(x, expected);
  });
  EXPECT_EQ(ranks.bytes_sent(), 2 * 2 * 4000 * 4);
}

TEST(Exchange, SeveralRunAtOnceAndEndInAnyOrder) {
  const std::vector<float> expected = sum_in_order<float>(4, 3000);
  ThreadRanks ranks(4);
  ranks.run([&](Communicator& comm) {
    std::vector<float> x = values_of<float>(comm.rank(), 3000);
    std::vector<std::unique_ptr<Exchange>> buckets;
    for (int bucket = 0; bucket < 3; ++bucket) {
      std::vector<Stretch> stretches;
      for (int owner = 0; owner < 4; ++owner) {
        stretches.push_back({Tensor(x.data() + bucket * 1000 + owner * 250, DType::f32, {250}), owner});
      }
      buckets.push_back(
          std::make_unique<Exchange>(comm, stretches, ExchangeKind::all_reduce, kFirstFreeTag + 2 * bucket));
      buckets.back()->start();
      dawdle(comm, bucket);
      for (auto& running : buckets) running->progress();
    }
    for (size_t i = buckets.size(); i-- > 0;) buckets[i]->wait();
    EXPECT_EQ(x, expected);
  });
}

TEST(Exchange, RefusesTypesThatAreNotAddedAndOwnersThatAreNotThere) {
  Alone alone;
  std::vector<int32_t> x(4);
  Tensor integers(x.data(), DType::i32, {4});
  EXPECT_THROW(Exchange(alone, {{integers, 0}}, ExchangeKind::all_reduce, 4), LogicError);
  EXPECT_THROW(Exchange(alone, {{integers, 1}}, ExchangeKind::all_gather, 4), LogicError);
  Exchange exchange(alone, {{integers, 0}}, ExchangeKind::all_gather, 4);
  exchange.start();
  EXPECT_TRUE(exchange.progress());
  EXPECT_EQ(alone.traffic().messages_sent, 0);
}

TEST(Collectives, SmallSumsTextsAndNumbers) {
  for (int size : {1, 2, 3, 5}) {
    ThreadRanks ranks(size);
    ranks.run([&](Communicator& comm) {
      std::vector<double> x{1.0 + comm.rank(), 0.5, -1.0 * comm.rank()};
      all_reduce(comm, x);
      EXPECT_EQ(x, (std::vector<double>{size * (size + 1) / 2.0, 0.5 * size, -size * (size - 1) / 2.0}));
      std::vector<std::string> texts = all_gather(comm, std::string(static_cast<size_t>(comm.rank()), 'x'));
      ASSERT_EQ(texts.size(), static_cast<size_t>(size));
      for (size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
      int last = size - 1;
      EXPECT_EQ(broadcast(comm, comm.rank() == last ? std::string("hello") : "?", last), "hello");
      EXPECT_EQ(broadcast(comm, int64_t{40} + comm.rank()), 40);
      barrier(comm);
    });
  }
}

TEST(Collectives, TheBytesOfSmallSumsAreAsPredicted) {
  for (int size : {1, 2, 4}) {
    ThreadRanks ranks(size);
    ranks.run([](Communicator& comm) {
      std::vector<double> x(7, 1.0);
      all_reduce(comm, x);
    });
    EXPECT_EQ(ranks.bytes_sent(), all_reduce_bytes(7, size));
  }
}

TEST(Collectives, ARankThatFailsEndsTheOthers) {
  ThreadRanks ranks(3);
  auto job = [](Communicator& comm) {
    if (comm.rank() == 1) throw JobError({.what = "no more paper"});
    barrier(comm);
  };
  EXPECT_THROW(ranks.run(job), JobError);
}

}  // namespace
}  // namespace tandem::test
