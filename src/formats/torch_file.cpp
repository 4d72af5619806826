#include "formats/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "formats/clean_text.h"
#include "formats/pickle.h"
#include "formats/strided_copy.h"
#include "formats/zip_archive.h"
#include "tensor/make_shape.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Deepest nesting of dictionaries and lists; what refers to itself is deeper.
constexpr int kDeepest = 64;
// Of dictionaries and lists, each as often as it is reached: sharing in the pickle could multiply them without end.
constexpr size_t kMostItems = 500'000;
// Of all names and texts of metadata together, which sharing in the pickle could otherwise multiply.
constexpr size_t kMostTextBytes = size_t{64} << 20;
// Pickles of many similar records shrink to a tenth.
constexpr uint64_t kBestPickleRatio = 64;
// Deflated weights hardly shrink, fresh moments of an optimizer do; what unpacks to much more is a bomb.
constexpr uint64_t kBestRatio = 16, kAlwaysUnpacked = uint64_t{64} << 20;
// Views and conversions of one storage: float16 doubles, and fused and split views of the same weights double again.
constexpr uint64_t kMostViews = 8, kAlwaysViewed = uint64_t{1} << 20;

struct StorageType {
  std::string_view global;
  StoredType type;
};

constexpr std::array kStorageTypes{
    StorageType{"torch FloatStorage", StoredType::f32},    StorageType{"torch DoubleStorage", StoredType::f64},
    StorageType{"torch HalfStorage", StoredType::float16}, StorageType{"torch BFloat16Storage", StoredType::bfloat16},
    StorageType{"torch LongStorage", StoredType::i64},     StorageType{"torch IntStorage", StoredType::i32},
    StorageType{"torch ShortStorage", StoredType::i16},    StorageType{"torch CharStorage", StoredType::i8},
    StorageType{"torch ByteStorage", StoredType::u8},      StorageType{"torch BoolStorage", StoredType::u8},
};

constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";
constexpr std::string_view kSize = "torch Size", kDevice = "torch device";

const std::vector<PickleGlobal>& known_globals() {
  static const std::vector<PickleGlobal> globals = [] {
    std::vector<PickleGlobal> out{{"collections OrderedDict", PickleRole::dictionary},
                                  {"collections Counter", PickleRole::dictionary},
                                  {kRebuildTensor, PickleRole::function},
                                  {kRebuildParameter, PickleRole::function},
                                  {kSize, PickleRole::function},
                                  {kDevice, PickleRole::function}};
    for (const StorageType& t : kStorageTypes) out.push_back({t.global, PickleRole::name});
    for (std::string_view type : {"torch float32", "torch float64", "torch float16", "torch bfloat16", "torch int64",
                                  "torch int32", "torch int16", "torch int8", "torch uint8", "torch bool"}) {
      out.push_back({type, PickleRole::name});
    }
    return out;
  }();
  return globals;
}

struct Storage {
  const ZipEntry* entry = nullptr;
  bool checked = false;             // its checksum is right
  std::vector<std::byte> unpacked;  // of a deflated entry
};

// Where a tensor's elements lie. Equal ones share a copy.
struct Place {
  size_t storage = 0;
  StoredType type = StoredType::f32;
  Strided strided;
  auto key() const { return std::tuple(storage, type, strided.offset, strided.rank, strided.sizes, strided.strides); }
};

std::span<const int64_t> sizes_of(const Strided& s) { return std::span(s.sizes).first(static_cast<size_t>(s.rank)); }

}  // namespace

struct TorchFile::Content {
  ZipArchive archive;
  std::vector<std::string> names;
  std::map<std::string, size_t, std::less<>> tensors;  // into places
  std::map<std::string, std::string> metadata;
  std::vector<Storage> storages;
  std::vector<Place> places;
  std::vector<std::vector<std::byte>> copies;  // of places; empty where there is none

  const Place& place(std::string_view name) const { return places[index(name)]; }
  size_t index(std::string_view name) const;
  std::span<const std::byte> bytes(Storage& storage);
};

namespace {

// Reads the pickle's tree into a Content.
template <class Content>
class Flattener {
 public:
  Flattener(Content& out, std::string prefix)
      : out_(out), prefix_(std::move(prefix)), file_(out.archive.path().string()) {}

  void run(const PickleValue& root) {
    walk(root, "", 0);
    check_views();
  }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& name, std::string got, std::string expected,
                           std::string hint = {}) const {
    throw InputError({.what = what,
                      .where = name.empty() ? file_ : fmt::format("'{}' of {}", name, file_),
                      .got = std::move(got),
                      .expected = std::move(expected),
                      .hint = std::move(hint)});
  }

  void walk(const PickleValue& value, const std::string& name, int depth) {
    if (depth > kDeepest) {
      refuse("nested too deeply, or within itself", name.substr(0, 200), fmt::format("level {}", depth),
             fmt::format("at most {}", kDeepest));
    }
    switch (value.kind()) {
      case PickleKind::dictionary:
        for (size_t i = 0; i < value.size(); i += 2)
          walk(value.item(i + 1), child(name, key_text(value.item(i), name)), depth + 1);
        break;
      case PickleKind::list:
      case PickleKind::tuple: walk_items(value, name, depth); break;
      case PickleKind::call: walk_call(value, name, depth); break;
      default: add_plain(name, plain_text(value, name)); break;
    }
  }

  void walk_items(const PickleValue& value, const std::string& name, int depth) {
    for (size_t i = 0; i < value.size(); ++i) walk(value.item(i), child(name, std::to_string(i)), depth + 1);
  }

  void walk_call(const PickleValue& value, const std::string& name, int depth) {
    PickleValue arguments = value.item(1);
    if (value.calls(kRebuildTensor)) return add_tensor(name, arguments);
    if (arguments.size() == 0) refuse("wrong arguments", name, value.describe(), "at least one");
    if (value.calls(kRebuildParameter)) {
      PickleValue tensor = arguments.item(0);
      if (!tensor.calls(kRebuildTensor)) refuse("bad parameter", name, tensor.describe(), "a tensor");
      return add_tensor(name, tensor.item(1));
    }
    if (value.calls(kSize)) {
      if (!is_sequence(arguments.item(0))) refuse("bad torch.Size", name, arguments.item(0).describe(), "a tuple");
      return walk_items(arguments.item(0), name, depth);
    }
    add_plain(name, device_text(arguments, name));
  }

  static bool is_sequence(const PickleValue& value) {
    return value.is(PickleKind::tuple) || value.is(PickleKind::list);
  }

  std::string device_text(const PickleValue& arguments, const std::string& name) const {
    if (!arguments.item(0).is(PickleKind::text))
      refuse("bad torch.device", name, arguments.item(0).describe(), "a text");
    std::string out = checked_text(arguments.item(0), name);
    if (arguments.size() > 1 && arguments.item(1).is(PickleKind::integer)) {
      out += fmt::format(":{}", arguments.item(1).integer());
    }
    return out;
  }

  std::string key_text(const PickleValue& key, const std::string& name) const {
    switch (key.kind()) {
      case PickleKind::text: return checked_text(key, name);
      case PickleKind::integer: return std::to_string(key.integer());
      case PickleKind::boolean: return key.boolean() ? "true" : "false";
      default: refuse("bad key of a dictionary", name, key.describe(), "a text or an integer");
    }
  }

  std::string checked_text(const PickleValue& value, const std::string& name) const {
    if (!is_utf8(value.text())) refuse("bad text", name, value.describe(), "UTF-8");
    return std::string(value.text());
  }

  std::string plain_text(const PickleValue& value, const std::string& name) const {
    switch (value.kind()) {
      case PickleKind::none: return "None";
      case PickleKind::boolean: return value.boolean() ? "true" : "false";
      case PickleKind::integer: return std::to_string(value.integer());
      case PickleKind::large: return std::to_string(value.large());
      case PickleKind::real: return fmt::format("{}", value.real());
      case PickleKind::text: return checked_text(value, name);
      case PickleKind::global: {
        std::string out(value.text());
        std::replace(out.begin(), out.end(), ' ', '.');
        return out;
      }
      default: refuse("unexpected value", name, value.describe(), "a tensor or a plain value");
    }
  }

  std::string child(const std::string& name, std::string key) {
    if (++items_ > kMostItems) refuse("too many values", "", "ever more", fmt::format("at most {}", kMostItems));
    std::string out = name.empty() ? std::move(key) : name + "." + key;
    count_text(out.size());
    return out;
  }
  void count_text(size_t bytes) {
    text_bytes_ += bytes;
    if (text_bytes_ > kMostTextBytes) {
      refuse("too much text", "", "ever more names and texts", fmt::format("{} bytes of them", kMostTextBytes));
    }
  }
  void claim(const std::string& name) {
    if (out_.tensors.contains(name) || out_.metadata.contains(name)) {
      refuse("two values of one name", name, "a second one", "each name once");
    }
  }
  void add_plain(const std::string& name, std::string text) {
    claim(name);
    count_text(text.size());
    out_.metadata.emplace(name, std::move(text));
  }

  void add_tensor(const std::string& name, const PickleValue& arguments) {
    claim(name);
    if (arguments.size() < 4) refuse("wrong arguments of a tensor", name, arguments.describe(), "at least 4");
    Place place;
    uint64_t elements = read_storage(name, arguments.item(0), place);
    read_strided(name, arguments, place.strided);
    check_reach(name, place.strided, elements);
    auto [at, fresh] = known_.emplace(place.key(), out_.places.size());
    if (fresh) {
      out_.places.push_back(place);
      viewed_ += static_cast<uint64_t>(place.strided.elements() * dtype_bytes(read_as(place.type)));
    }
    out_.tensors.emplace(name, at->second);
    out_.names.push_back(name);
  }

  // ('storage', type, key, location, number of elements), which is returned.
  uint64_t read_storage(const std::string& name, const PickleValue& value, Place& place) {
    auto fail = [&](const PickleValue& got) {
      refuse("bad storage", name, got.describe(), "('storage', type, key, device, size)");
    };
    if (!value.is(PickleKind::persistent)) fail(value);
    PickleValue id = value.item(0);
    if (!id.is(PickleKind::tuple) || id.size() != 5) fail(id);
    if (!id.item(0).is(PickleKind::text) || id.item(0).text() != "storage") fail(id.item(0));
    if (!id.item(1).is(PickleKind::global)) fail(id.item(1));
    if (!id.item(2).is(PickleKind::text)) fail(id.item(2));
    if (!id.item(4).is(PickleKind::integer) || id.item(4).integer() < 0) fail(id.item(4));
    auto type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(),
                             [&](const StorageType& t) { return t.global == id.item(1).text(); });
    if (type == kStorageTypes.end()) fail(id.item(1));
    place.type = type->type;
    place.storage = find_storage(name, id.item(2).text());
    auto elements = static_cast<uint64_t>(id.item(4).integer());
    uint64_t size = out_.storages[place.storage].entry->size;
    if (elements > size / static_cast<uint64_t>(stored_bytes(place.type))) {
      refuse("storage is too short", name, fmt::format("{} bytes", size),
             fmt::format("{} elements of {} bytes", elements, stored_bytes(place.type)), "was the file damaged?");
    }
    return elements;
  }

  size_t find_storage(const std::string& name, std::string_view key) {
    const ZipEntry* entry = out_.archive.find(fmt::format("{}data/{}", prefix_, key));
    if (!entry) refuse("missing storage", name, fmt::format("no entry 'data/{}'", key), "the bytes of the tensor");
    auto [at, fresh] = storages_.emplace(entry, out_.storages.size());
    if (fresh) {
      out_.storages.push_back({.entry = entry});
      stored_ += entry->size;
      if (entry->deflated) unpacked_ += entry->size;
      uint64_t most = std::max(kAlwaysUnpacked, kBestRatio * out_.archive.bytes());
      if (unpacked_ > most) {
        refuse("zip bomb", "", fmt::format("storages that unpack to {} bytes and more", unpacked_),
               fmt::format("at most {} for a file of {}", most, out_.archive.bytes()),
               "if it is none, save it uncompressed");
      }
    }
    return at->second;
  }

  // Arguments 1 to 3: offset, sizes, strides.
  void read_strided(const std::string& name, const PickleValue& arguments, Strided& out) const {
    auto number = [&](const PickleValue& value, const char* what) {
      if (!value.is(PickleKind::integer) || value.integer() < 0) {
        refuse(fmt::format("bad {} of a tensor", what), name, value.describe(), "an integer from 0 to 2^63-1");
      }
      return value.integer();
    };
    auto sizes = [&](PickleValue value, const char* what) {
      if (value.calls(kSize) && value.item(1).size() == 1) value = value.item(1).item(0);
      if (!is_sequence(value)) refuse(fmt::format("bad {} of a tensor", what), name, value.describe(), "a tuple");
      if (value.size() > Shape::kMostDims) {
        refuse("too many dimensions", name, fmt::format("{}", value.size()),
               fmt::format("at most {}", Shape::kMostDims));
      }
      return value;
    };
    PickleValue dims = sizes(arguments.item(2), "size"), strides = sizes(arguments.item(3), "stride");
    if (dims.size() != strides.size()) {
      refuse("sizes and strides differ in number", name, strides.describe(), fmt::format("{}", dims.size()));
    }
    out.offset = number(arguments.item(1), "offset");
    out.rank = static_cast<int>(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) {
      out.sizes[i] = number(dims.item(i), "size");
      out.strides[i] = number(strides.item(i), "stride");
    }
    if (!element_count(sizes_of(out))) {
      refuse("shape is too large", name, make_shape(sizes_of(out)).text(), "fewer than 2^60 elements");
    }
  }

  void check_reach(const std::string& name, const Strided& strided, uint64_t elements) const {
    std::optional<uint64_t> end = strided.end();
    if (!end || *end > elements) {
      refuse("tensor reaches beyond its storage", name,
             end ? fmt::format("{} elements", *end) : "more than 2^63 elements", fmt::format("at most {}", elements));
    }
    if (!strided.distinct()) {
      refuse("tensor reads an element of its storage twice", name, "an expanded tensor", "strides that do not overlap",
             "save tensor.contiguous()");
    }
  }

  void check_views() const {
    uint64_t most = std::max(kAlwaysViewed, kMostViews * stored_);
    if (viewed_ <= most) return;
    refuse("tensors that are too many views of the same bytes", "", fmt::format("{} bytes", viewed_),
           fmt::format("at most {} for storages of {}", most, stored_));
  }

  Content& out_;
  std::string prefix_, file_;
  std::map<const ZipEntry*, size_t> storages_;
  std::map<decltype(Place().key()), size_t> known_;
  size_t items_ = 0, text_bytes_ = 0;
  uint64_t stored_ = 0, unpacked_ = 0, viewed_ = 0;
};

// What is no zip archive: usually the format before PyTorch 1.6, a pickle that begins with a magic number.
void check_is_archive(const fs::path& path) {
  MappedFile map(path);
  if (map.text().starts_with("PK")) return;
  bool legacy = map.text().starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
  throw InputError(
      {.what = "not a PyTorch checkpoint",
       .where = path.string(),
       .got = legacy ? "the format before PyTorch 1.6"
                     : fmt::format("{} bytes that are no zip archive", map.text().size()),
       .expected = "a zip archive written by torch.save",
       .hint = legacy ? "re-save it in Python: torch.save(torch.load(FILE, weights_only=True), NEW)" : ""});
}

// "NAME/", the folder of all entries.
std::string find_prefix(const ZipArchive& archive) {
  auto fail = [&](std::string got, std::string hint = {}) {
    throw InputError({.what = "not a PyTorch checkpoint",
                      .where = archive.path().string(),
                      .got = std::move(got),
                      .expected = "a zip archive with one data.pkl",
                      .hint = std::move(hint)});
  };
  std::optional<std::string> prefix;
  for (const ZipEntry& entry : archive.entries()) {
    if (entry.name.ends_with("/constants.pkl") || entry.name == "constants.pkl") {
      fail("a TorchScript program", "save its weights: torch.save(module.state_dict(), FILE)");
    }
    bool pickle = entry.name == "data.pkl" || entry.name.ends_with("/data.pkl");
    if (!pickle) continue;
    if (prefix) fail("two pickles");
    prefix = std::string(entry.name.substr(0, entry.name.size() - std::string_view("data.pkl").size()));
  }
  if (!prefix) fail("an archive without data.pkl");
  return *prefix;
}

// A small entry; empty when there is none.
std::string read_small(const ZipArchive& archive, const std::string& name) {
  constexpr uint64_t kMost = 64;
  const ZipEntry* entry = archive.find(name);
  if (!entry || entry->size > kMost) return {};
  std::vector<std::byte> bytes = archive.read(*entry);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_byte_order(const ZipArchive& archive, const std::string& prefix) {
  std::string order = read_small(archive, prefix + "byteorder");
  if (order.empty() || order == "little") return;
  throw InputError({.what = "unsupported byte order",
                    .where = archive.path().string(),
                    .got = "'" + order + "'",
                    .expected = "'little'"});
}

std::vector<std::byte> read_pickle(const ZipArchive& archive, const std::string& name) {
  const ZipEntry& entry = *archive.find(name);
  if (entry.size > Pickle::kMostBytes || entry.size / kBestPickleRatio > entry.packed) {
    throw InputError({.what = "pickle is too large",
                      .where = fmt::format("entry '{}' of {}", name, archive.path().string()),
                      .got = fmt::format("{} bytes, packed into {}", entry.size, entry.packed),
                      .expected = fmt::format("at most {}, and {} times its packed size", size_t{Pickle::kMostBytes},
                                              kBestPickleRatio)});
  }
  return archive.read(entry);
}

}  // namespace

size_t TorchFile::Content::index(std::string_view name) const {
  auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw InputError({.what = "missing tensor",
                      .where = archive.path().string(),
                      .expected = fmt::format("'{}'", name),
                      .hint = fmt::format("the file has {} tensors", tensors.size())});
  }
  return found->second;
}

std::span<const std::byte> TorchFile::Content::bytes(Storage& storage) {
  if (storage.entry->deflated) {
    if (storage.unpacked.empty()) storage.unpacked = archive.read(*storage.entry);
    return storage.unpacked;
  }
  if (!storage.checked) archive.check_stored(*storage.entry);
  storage.checked = true;
  return archive.stored(*storage.entry);
}

TorchFile TorchFile::open(const fs::path& path) {
  check_is_archive(path);
  auto content = std::make_unique<Content>(Content{.archive = ZipArchive::open(path)});
  const ZipArchive& archive = content->archive;
  std::string prefix = find_prefix(archive);
  check_byte_order(archive, prefix);
  std::string name = prefix + "data.pkl";
  std::vector<std::byte> bytes = read_pickle(archive, name);
  Pickle pickle({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, known_globals(),
                fmt::format("{} of {}", name, path.string()));
  Flattener<Content>(*content, prefix).run(pickle.root());
  content->copies.resize(content->places.size());
  return TorchFile(std::move(content));
}

TorchFile::TorchFile(std::unique_ptr<Content> content) : content_(std::move(content)) {}
TorchFile::TorchFile(TorchFile&&) noexcept = default;
TorchFile& TorchFile::operator=(TorchFile&&) noexcept = default;
TorchFile::~TorchFile() = default;

const fs::path& TorchFile::path() const { return content_->archive.path(); }
const std::vector<std::string>& TorchFile::names() const { return content_->names; }
bool TorchFile::contains(std::string_view name) const {
  return content_->tensors.find(name) != content_->tensors.end();
}
DType TorchFile::dtype(std::string_view name) const { return read_as(content_->place(name).type); }
Shape TorchFile::shape(std::string_view name) const { return make_shape(sizes_of(content_->place(name).strided)); }
const std::map<std::string, std::string>& TorchFile::metadata() const { return content_->metadata; }

Tensor TorchFile::tensor(std::string_view name) {
  size_t index = content_->index(name);
  const Place& place = content_->places[index];
  std::vector<std::byte>& copy = content_->copies[index];
  DType type = read_as(place.type);
  Shape shape = make_shape(sizes_of(place.strided));
  if (!copy.empty()) return {copy.data(), type, shape};
  static uint64_t nothing;  // so that a tensor without elements is defined
  if (place.strided.elements() == 0) return {&nothing, type, shape};
  std::span<const std::byte> bytes = content_->bytes(content_->storages[place.storage]);
  const std::byte* begin = bytes.data() + place.strided.offset * stored_bytes(place.type);
  bool aligned = reinterpret_cast<uintptr_t>(begin) % static_cast<uintptr_t>(dtype_bytes(type)) == 0;
  if (place.strided.contiguous() && aligned && !is_converted(place.type)) {
    // The map is read-only; Tensor has one pointer type for all.
    return {const_cast<std::byte*>(begin), type, shape};
  }
  copy = copy_strided(bytes, place.type, place.strided);
  return {copy.data(), type, shape};
}

void TorchFile::release() {
  for (std::vector<std::byte>& copy : content_->copies) copy = {};
  for (Storage& storage : content_->storages) storage.unpacked = {};
}

}  // namespace tandem
