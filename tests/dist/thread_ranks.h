// Ranks that are threads of one process: what several processes do over MPI, for tests of one program.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
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
  struct Message {
    std::span<const std::byte> sent;
    std::span<std::byte> received;
    std::shared_ptr<std::atomic<bool>> send_done, receive_done;
  };
  using Address = std::tuple<int, int, int>;  // from, to, tag
  struct Box {
    std::deque<Message> waiting;  // sends without a receive, or receives without a send
    bool sends = false;
  };

  class Rank final : public Communicator {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    bool test(Request request) override {
      if (all_.failed_) throw OtherRankFailed();
      return *requests_.at(static_cast<size_t>(request));
    }
    [[noreturn]] void abort(int) override {
      all_.failed_ = true;
      throw OtherRankFailed();
    }

   private:
    Request start_send(int to, int tag, std::span<const std::byte> bytes) override {
      return post({rank_, to, tag}, true, {.sent = bytes});
    }
    Request start_receive(int from, int tag, std::span<std::byte> bytes) override {
      return post({from, rank_, tag}, false, {.received = bytes});
    }
    Request post(const Address& address, bool send, Message message) {
      auto done = std::make_shared<std::atomic<bool>>(false);
      (send ? message.send_done : message.receive_done) = done;
      all_.post(address, send, message);
      requests_.push_back(done);
      return static_cast<Request>(requests_.size()) - 1;
    }

    ThreadRanks& all_;
    int rank_;
    std::vector<std::shared_ptr<std::atomic<bool>>> requests_;
  };

  void post(const Address& address, bool send, const Message& message) {
    std::lock_guard lock(mutex_);
    Box& box = mail_[address];
    if (box.waiting.empty() || box.sends == send) {
      box.sends = send;
      box.waiting.push_back(message);
      return;
    }
    Message other = box.waiting.front();
    box.waiting.pop_front();
    const Message &from = send ? message : other, &to = send ? other : message;
    if (from.sent.size() != to.received.size()) throw std::logic_error("a message of another size than expected");
    std::memcpy(to.received.data(), from.sent.data(), from.sent.size());
    *from.send_done = true;
    *to.receive_done = true;
  }

  int size_;
  std::mutex mutex_;
  std::map<Address, Box> mail_;
  std::atomic<bool> failed_{false};
  std::vector<Traffic> traffic_;
};

}  // namespace tandem::test
