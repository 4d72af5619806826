#include "formats/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/little_endian.h"

static_assert(std::endian::native == std::endian::little, "records are little-endian and written from memory");

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kCastagnoli = 0x82f63b78;  // reflected
constexpr uint32_t kMaskDelta = 0xa282ead8;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >> 1) ^ kCastagnoli : crc >> 1;
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

std::string masked_crc(std::string_view bytes) {
  uint32_t crc = crc32c(bytes);
  return little_endian(((crc >> 15) | (crc << 17)) + kMaskDelta);
}

// A protobuf message under construction (protobuf.dev, "Encoding"). Fields are added in the order of their numbers, as
// other writers do.
class Message {
 public:
  Message& integer(int field, int64_t value) {
    tag(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& float64(int field, double value) {
    tag(field, 1);
    bytes_ += little_endian(value);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& float32(int field, float value) {
    tag(field, 5);
    bytes_ += little_endian(value);
    return *this;
  }
  const std::string& text() const { return bytes_; }

 private:
  void tag(int field, int wire_type) { varint(static_cast<uint64_t>(field << 3 | wire_type)); }
  void varint(uint64_t value) {
    while (value >= 0x80) {
      bytes_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary_value {
constexpr int kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9;
}
constexpr int kSummaryValue = 1;    // Summary.value
constexpr int kPluginData = 1;      // SummaryMetadata.plugin_data
constexpr int kPluginName = 1;      // PluginData.plugin_name
constexpr int kTensorType = 1;      // TensorProto.dtype
constexpr int kTensorShape = 2;     // TensorProto.tensor_shape; empty: a scalar
constexpr int kTensorString = 8;    // TensorProto.string_val
constexpr int kStringType = 7;      // DT_STRING
constexpr int kSessionStatus = 1;   // SessionLog.status
constexpr int kSessionStarted = 1;  // SessionLog.START

Message event_at(double wall_time, int64_t step) {
  Message message;
  message.float64(event::kWallTime, wall_time);
  if (step != 0) message.integer(event::kStep, step);  // proto3 leaves zeros out
  return message;
}

std::string with_summary(double wall_time, int64_t step, const Message& value) {
  Message summary;
  summary.bytes(kSummaryValue, value.text());
  return event_at(wall_time, step).bytes(event::kSummary, summary.text()).text();
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr std::string_view kNamePrefix = "events.out.tfevents.";
constexpr std::string_view kNameSuffix = ".tandem";

// One more than the largest number in the folder.
int64_t next_number(const fs::path& folder) {
  int64_t largest = 0;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(kNamePrefix)) continue;
    int64_t number = 0;
    auto parsed = std::from_chars(name.data() + kNamePrefix.size(), name.data() + name.size(), number);
    if (parsed.ec == std::errc()) largest = std::max(largest, number);
  }
  return largest + 1;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::string tensorboard_record(std::string_view message) {
  std::string length = little_endian(static_cast<uint64_t>(message.size()));
  std::string record = length + masked_crc(length);
  record += message;
  record += masked_crc(message);
  return record;
}

std::string tensorboard_version_event(double wall_time) {
  return event_at(wall_time, 0).bytes(event::kFileVersion, "brain.Event:2").text();
}

std::string tensorboard_scalar_event(double wall_time, int64_t step, std::string_view tag, float value) {
  Message entry;
  entry.bytes(summary_value::kTag, tag).float32(summary_value::kSimpleValue, value);
  return with_summary(wall_time, step, entry);
}

std::string tensorboard_text_event(double wall_time, int64_t step, std::string_view tag, std::string_view text) {
  Message tensor, plugin, metadata, entry;
  tensor.integer(kTensorType, kStringType).bytes(kTensorShape, "").bytes(kTensorString, text);
  plugin.bytes(kPluginName, "text");
  metadata.bytes(kPluginData, plugin.text());
  entry.bytes(summary_value::kTag, tag)
      .bytes(summary_value::kTensor, tensor.text())
      .bytes(summary_value::kMetadata, metadata.text());
  return with_summary(wall_time, step, entry);
}

std::string tensorboard_restart_event(double wall_time, int64_t step) {
  Message session;
  session.integer(kSessionStatus, kSessionStarted);
  return event_at(wall_time, step).bytes(event::kSessionLog, session.text()).text();
}

EventWriter::EventWriter(const fs::path& folder, int64_t first_step) {
  create_folder(folder);
  path_ = folder / fmt::format("{}{:010}{}", kNamePrefix, next_number(folder), kNameSuffix);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    throw JobError({.what = "cannot create event file", .where = path_.string(), .got = std::strerror(errno)});
  }
  append(tensorboard_version_event(wall_time()));
  restart(first_step);
}

EventWriter::~EventWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void EventWriter::scalar(int64_t step, std::string_view tag, double value) {
  append(tensorboard_scalar_event(wall_time(), step, tag, static_cast<float>(value)));
}

void EventWriter::text(int64_t step, std::string_view tag, std::string_view text) {
  append(tensorboard_text_event(wall_time(), step, tag, text));
}

void EventWriter::restart(int64_t first_step) { append(tensorboard_restart_event(wall_time(), first_step)); }

void EventWriter::append(const std::string& message) {
  std::string record = tensorboard_record(message);
  std::string_view left = record;
  while (!left.empty()) {
    ssize_t n = ::write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw JobError({.what = "cannot write event file", .where = path_.string(), .got = std::strerror(errno)});
    }
    left.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace tandem
