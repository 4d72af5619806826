// Event files that TensorBoard reads: records of the TFRecord format, each an Event message in protobuf's encoding.
//
// A record: u64 length, u32 masked crc of those 8 bytes, the message, u32 masked crc of the message; little endian, crc
// is CRC-32C (Castagnoli), masked as ((crc >> 15) | (crc << 17)) + 0xa282ead8. Messages and field numbers:
// tensorboard/compat/proto/{event,summary,tensor}.proto. Only scalars, texts and the mark of a restart are written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace tandem {

// CRC-32C of `bytes`, not masked.
uint32_t crc32c(std::string_view bytes);

// One record around a message.
std::string tensorboard_record(std::string_view message);

// Messages of class Event. `wall_time`: seconds since 1970.
std::string tensorboard_version_event(double wall_time);
std::string tensorboard_scalar_event(double wall_time, int64_t step, std::string_view tag, float value);
std::string tensorboard_text_event(double wall_time, int64_t step, std::string_view tag, std::string_view text);
// Readers forget what they have read of `step` and later ones.
std::string tensorboard_restart_event(double wall_time, int64_t step);

// A new event file, appended to record by record; every record is handed to the system at once. JobError when that
// refuses.
class EventWriter {
 public:
  // Creates the next file of `folder` (events.out.tfevents.0000000001.tandem and so on: readers go through the files of
  // a folder in the order of their names). What earlier files hold of `first_step` and later ones is forgotten.
  EventWriter(const std::filesystem::path& folder, int64_t first_step);
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;
  ~EventWriter();

  void scalar(int64_t step, std::string_view tag, double value);
  void text(int64_t step, std::string_view tag, std::string_view text);
  // From here on the run counts from `first_step` again.
  void restart(int64_t first_step);

  const std::filesystem::path& path() const { return path_; }

 private:
  void append(const std::string& message);

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace tandem
