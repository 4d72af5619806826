// Ranks that are threads of one process: what several processes do over MPI, for tests of one program.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "dist/communicator.h"

namespace tandem::test {

// Thrown in the other ranks when one of them has failed.
class OtherRankFailed : public std::runtime_error {
 public:
  OtherRankFailed() : std::runtime_error("another rank failed") {}
};

class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : size_(size) {}

  // Runs `job` on every rank and waits for all; throws the error of the lowest rank that failed by itself.
  void run(const std::function<void(Communicator&)>& job) {
    std::vector<std::exception_ptr> errors(static_cast<size_t>(size_));
    std::vector<std::thread> threads;
    traffic_.assign(static_cast<size_t>(size_), {});
    for (int rank = 0; rank < size_; ++rank) {
      threads.emplace_back([&, rank] {
        auto index = static_cast<size_t>(rank);
        Rank communicator(*this, rank);
        try {
          job(communicator);
        } catch (const OtherRankFailed&) {
        } catch (...) {
          errors[index] = std::current_exception();
          failed_ = true;
        }
        traffic_[index] = communicator.traffic();
      });
    }
    for (std::thread& thread : threads) thread.join();
    bool failed = failed_.exchange(false);
    mail_.clear();
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
    if (failed) throw std::logic_error("a rank was ended");
  }

  // Of the last run, by rank.
  const std::vector<Traffic>& traffic() const { return traffic_; }
  int64_t bytes_sent() const {
    int64_t bytes = 0;
    for (const Traffic& t : traffic_) bytes += t.bytes_sent;
    return bytes;
  }

 private:
  using Address = std::tuple<int, int, int>;  // from, to, tag
  using Bytes = std::vector<std::byte>;

  class Rank final : public Communicator {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    bool test(Request request) override {
      if (all_.failed_) throw OtherRankFailed();
      const Receive& receive = requests_.at(static_cast<size_t>(request));
      if (!receive.done) deliver(receive.address);
      return receive.done;
    }
    [[noreturn]] void abort(int) override {
      all_.failed_ = true;
      throw OtherRankFailed();
    }

   private:
    // What is not received yet. Sends are done at once.
    struct Receive {
      Address address;
      std::span<std::byte> bytes;
      bool done = false;
    };

    Request start_send(int to, int tag, std::span<const std::byte> bytes) override {
      all_.post({rank_, to, tag}, Bytes(bytes.begin(), bytes.end()));
      return add({.address = {}, .bytes = {}, .done = true});
    }
    Request start_receive(int from, int tag, std::span<std::byte> bytes) override {
      Address address{from, rank_, tag};
      Request request = add({.address = address, .bytes = bytes});
      waiting_[address].push_back(static_cast<size_t>(request));
      return request;
    }
    Request add(const Receive& receive) {
      requests_.push_back(receive);
      return static_cast<Request>(requests_.size()) - 1;
    }
    // Takes what has come, in the order in which it was asked for. A rank writes to its own memory alone: that of one
    // that has failed is gone.
    void deliver(const Address& address) {
      std::deque<size_t>& waiting = waiting_[address];
      while (!waiting.empty()) {
        std::optional<Bytes> bytes = all_.take(address);
        if (!bytes) return;
        Receive& receive = requests_[waiting.front()];
        if (bytes->size() != receive.bytes.size()) throw std::logic_error("a message of another size than expected");
        std::copy(bytes->begin(), bytes->end(), receive.bytes.begin());
        receive.done = true;
        waiting.pop_front();
      }
    }

    ThreadRanks& all_;
    int rank_;
    std::vector<Receive> requests_;
    std::map<Address, std::deque<size_t>> waiting_;  // requests
  };

  void post(const Address& address, Bytes bytes) {
    std::lock_guard lock(mutex_);
    mail_[address].push_back(std::move(bytes));
  }
  std::optional<Bytes> take(const Address& address) {
    std::lock_guard lock(mutex_);
    std::deque<Bytes>& box = mail_[address];
    if (box.empty()) return std::nullopt;
    Bytes bytes = std::move(box.front());
    box.pop_front();
    return bytes;
  }

  int size_;
  std::mutex mutex_;
  std::map<Address, std::deque<Bytes>> mail_;  // on their way
  std::atomic<bool> failed_{false};
  std::vector<Traffic> traffic_;
};

}  // namespace tandem::test
