// Ranks that compute together: the processes of a job started by mpirun, or one process alone. Messages between two of
// them, and the count of what they send; what is made of messages stands in exchange.h and collectives.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tandem {

// What one rank has done so far.
struct Traffic {
  int64_t bytes_sent = 0;
  int64_t messages_sent = 0;
  double wait_seconds = 0;  // in waits for others: time in which nothing was computed
};

class Communicator {
 public:
  using Request = int64_t;

  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual int rank() const = 0;  // 0..size()-1
  virtual int size() const = 0;

  // Begin to send or receive; the memory stays the message's until its request is done. Messages of one tag between two
  // ranks arrive in the order in which they were sent, and have the size that is waited for. At most kMostBytes.
  Request send(int to, int tag, std::span<const std::byte> bytes);
  Request receive(int from, int tag, std::span<std::byte> bytes);

  // Whether the request is done; it is forgotten then. JobError when the connection fails.
  virtual bool test(Request request) = 0;
  // Until all are done. Time that others take is slept away, not burnt: they may need the core.
  void wait(std::span<const Request> requests);

  // Ends all ranks at once with this exit code, wherever they are.
  [[noreturn]] virtual void abort(int code) = 0;

  const Traffic& traffic() const { return traffic_; }
  void count_wait(double seconds) { traffic_.wait_seconds += seconds; }

  static constexpr size_t kMostBytes = size_t{1} << 30;

 protected:
  virtual Request start_send(int to, int tag, std::span<const std::byte> bytes) = 0;
  virtual Request start_receive(int from, int tag, std::span<std::byte> bytes) = 0;

 private:
  Traffic traffic_;
};

// What to do between two looks at something that others have to bring about: at first nothing, then let others run,
// then sleep, longer and longer up to a millisecond.
class Patience {
 public:
  void pause();

 private:
  int looks_ = 0;
};

// One process.
class Alone final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool test(Request) override { return true; }
  [[noreturn]] void abort(int code) override;

 private:
  Request start_send(int to, int tag, std::span<const std::byte> bytes) override;
  Request start_receive(int from, int tag, std::span<std::byte> bytes) override;
};

}  // namespace tandem
