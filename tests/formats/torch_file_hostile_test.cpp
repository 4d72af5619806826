// Bytes from strangers: each ends in one InputError or in tensors that can be read, without code being run or memory
// being taken that the file does not have.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/temporary_folder.h"
#include "formats/hostile_files.h"
#include "formats/pickle_bytes.h"
#include "formats/torch_file.h"

namespace tandem {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): a dozen builders of bytes

int64_t touch(TorchFile& file) {
  int64_t sum = 0;
  for (const std::string& name : file.names()) {
    Tensor t = file.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(t.data);
    for (int64_t i = 0; i < t.bytes(); ++i) sum += bytes[i];
  }
  return sum;
}

// What opening, or reading the tensors, says.
std::string refusal(const std::string& bytes) {
  TemporaryFolder folder;
  std::string path = (folder / "f").string();
  put_file(path, bytes);
  std::string message = message_of<InputError>([&] {
    TorchFile file = TorchFile::open(path);
    touch(file);
  });
  EXPECT_NE(message.find(path), std::string::npos) << "does not name the file: " << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  for (size_t at; (at = message.find(path)) != std::string::npos;) message.replace(at, path.size(), "F");
  return message;
}

void expect_refusal(const std::string& bytes, const std::string& part) {
  std::string message = refusal(bytes);
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

std::string refusal_of_tensor(const PickledTensor& tensor, const std::string& storage = std::string(24, '\1')) {
  return refusal(checkpoint(pickle_of_w(tensor.opcodes()), storage));
}

TEST(HostileTorchFile, TheBuildersMakeFilesThatAreRead) {
  TemporaryFolder folder;
  for (bool deflated : {false, true}) {
    float numbers[] = {1, 2, 3, 4, 5, 6};
    std::string storage(reinterpret_cast<const char*>(numbers), sizeof numbers);
    std::string path = (folder / (deflated ? "a" : "b")).string();
    put_file(path, zip_bytes({{"a/data.pkl", pickle_of_w(PickledTensor{}.opcodes()), deflated},
                              {"a/data/0", storage, deflated}}));
    TorchFile file = TorchFile::open(path);
    ASSERT_EQ(file.names(), std::vector<std::string>{"w"});
    EXPECT_EQ(file.tensor("w").shape, (Shape{2, 3}));
    EXPECT_EQ(std::memcmp(file.tensor("w").data, numbers, sizeof numbers), 0);
  }
}

TEST(HostileTorchFile, TruncatedFiles) {
  std::string whole = checkpoint(pickle_of_w(PickledTensor{}.opcodes()));
  for (size_t length = 0; length < whole.size(); length += 5) EXPECT_FALSE(refusal(whole.substr(0, length)).empty());
  EXPECT_EQ(refusal(""),
            "not a PyTorch checkpoint: F: got 0 bytes that are no zip archive, expected a zip archive "
            "written by torch.save");
  EXPECT_EQ(refusal(whole.substr(0, 100)),
            "damaged zip archive: F: got no directory at its end, expected a whole archive; was the file cut off?");
}

TEST(HostileTorchFile, NoCodeIsRun) {
  for (const char* global : {"os\nsystem\n", "posix\nsystem\n", "builtins\neval\n", "__builtin__\neval\n",
                             "functools\npartial\n", "torch.serialization\nload\n", "collections\ndefaultdict\n",
                             "numpy.core.multiarray\n_reconstruct\n", "_codecs\nencode\n", "torch\nload\n"}) {
    std::string name(global, std::strlen(global) - 1);
    name.replace(name.find('\n'), 1, ".");
    std::string call = std::string("c") + global + pickle_text("echo bad") + "\x85R";
    expect_refusal(checkpoint(pickle(call)), "got the global '" + name + "'");
    expect_refusal(checkpoint(pickle_of_w(call)), "got the global '" + name + "'");
    // Only mentioned; on the stack of protocol 4; thrown away.
    expect_refusal(checkpoint(pickle(std::string("c") + global)), "got the global '" + name + "'");
    size_t dot = name.rfind('.');
    std::string stacked = pickle_text(name.substr(0, dot)) + pickle_text(name.substr(dot + 1)) + "\x93";
    expect_refusal(checkpoint(pickle(stacked)), "got the global '" + name + "'");
    expect_refusal(checkpoint(pickle(std::string("c") + global + "0N")), "got the global '" + name + "'");
  }
  // Globals that are on the list cannot be called in other ways than theirs.
  expect_refusal(checkpoint(pickle("ctorch\nFloatStorage\n)R")), "a call of what is no function");
  expect_refusal(checkpoint(pickle("ctorch\nfloat32\n)R")), "a call of what is no function");
  expect_refusal(checkpoint(pickle("N)R")), "a call of what is no function");
  expect_refusal(checkpoint(pickle("ccollections\nOrderedDict\nNR")), "a call without a tuple");
  expect_refusal(checkpoint(pickle("ccollections\nOrderedDict\n" + pickle_int(3) + "\x85R")),
                 "a dictionary of a value");
  for (const char* opcode : {"i", "o", "\x82", "\x83", "\x84", "\x92", "\x97", "\x98", "C", "I", "\xff"}) {
    expect_refusal(checkpoint(pickle(opcode)), "got opcode 0x");
  }
}

TEST(HostileTorchFile, PicklesThatAreNone) {
  for (const auto& [opcodes, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "0 values at its end"},
           {"0", "an empty stack"},
           {"NN", "2 values at its end"},
           {"(N", "at its end"},
           {"]Ns", "an empty stack"},
           {"NN)s", "items for what takes none"},
           {"}(Nu", "items for what takes none"},
           {"t", "no mark"},
           {"(N00", "an empty stack"},
           {"(NR", "an empty stack"},
           {"h\x05", "memo 5"},
           {"Nr\xff\xff\xff\xff", "memo 4294967295"},
           {"NNb", "attributes for a plain value"},
           {"X\xff\xff\xff\x7f", "got its end"},
           {"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "got its end"},
           {"\x8b\xff\xff\xff\xff", "got its end"},
           {std::string("\x8a\x0a") + std::string(10, '\1'), "an integer of 10 bytes"},
           {"ctorch", "got its end"},
           {"N\x93", "an empty stack"},
           {"NN\x93", "a global without a name"},
           {"\x80\x09N", "protocol 9"}}) {
    expect_refusal(checkpoint(pickle(opcodes)), part);
  }
  expect_refusal(checkpoint(""), "got its end");
  expect_refusal(checkpoint("\x80\x02N"), "got its end");
  expect_refusal(checkpoint(pickle("}" + pickle_text("\xff\xfe") + "Ns")), "bad text");
  expect_refusal(checkpoint(pickle("}NNs")), "bad key of a dictionary");
  expect_refusal(checkpoint(pickle("}" + pickle_text("w") + "Ns" + pickle_text("w") + "Ns")), "two values of one name");
  expect_refusal(checkpoint(pickle_of_w("NQ")), "unexpected value");
}

TEST(HostileTorchFile, PicklesWithinThemselves) {
  // A list that is its own item, and one that is shared so often that it has 2^60 leaves, or none: too many values, or
  // too much text in their names.
  expect_refusal(checkpoint(pickle("]q\x01h\x01"
                                   "a")),
                 "nested too deeply, or within itself");
  std::string laughs = "]Na";
  std::string nothing = "]";
  for (int i = 0; i < 60; ++i) {
    std::string slot(1, static_cast<char>(i));
    laughs += "q" + slot + "0]h" + slot + "ah" + slot + "a";
    nothing += "q" + slot + "0]h" + slot + "ah" + slot + "a";
  }
  expect_refusal(checkpoint(pickle(laughs)), "too m");
  expect_refusal(checkpoint(pickle(nothing)), "too m");
  // One long text, many times.
  std::string many = "]" + pickle_text(std::string(1 << 20, 'x')) + "q\x01" + "a(";
  for (int i = 0; i < 1000; ++i) many += "h\x01";
  expect_refusal(checkpoint(pickle(many + "e")), "too much text");
  // A tower of lists.
  std::string tower(100'000, ']');
  expect_refusal(checkpoint(pickle(tower + std::string(99'999, 'a'))), "nested too deeply");
  // Pickles that never seem to end.
  std::string endless(size_t{3} << 20, 'N');
  expect_refusal(zip_bytes({{"a/data.pkl", "\x80\x02" + endless}}), "ever more values");
  expect_refusal(zip_bytes({{"a/data.pkl", "\x80\x02" + std::string(size_t{3} << 20, '(')}}), "ever more marks");
  expect_refusal(zip_bytes({{"a/data.pkl", "\x80\x02N" + std::string(size_t{3} << 20, '2')}}), "ever more values");
}

TEST(HostileTorchFile, StoragesThatAreTooShort) {
  EXPECT_EQ(refusal_of_tensor({.storage_elements = 7}),
            "storage is too short: 'w' of F: got 24 bytes, expected 7 elements of 4 bytes; was the file damaged?");
  EXPECT_TRUE(refusal_of_tensor({.storage_elements = INT64_MAX}).starts_with("storage is too short"));
  EXPECT_TRUE(refusal_of_tensor({.storage_elements = -1}).starts_with("bad storage"));
  EXPECT_TRUE(refusal_of_tensor({.key = "1"}).starts_with("missing storage: 'w' of F"));
  EXPECT_TRUE(refusal_of_tensor({.key = "../data.pkl"}).starts_with("missing storage: 'w' of F"));
  EXPECT_TRUE(refusal_of_tensor({.storage_type = "float32"}).starts_with("bad storage"));
  EXPECT_TRUE(refusal_of_tensor({.storage_type = "DoubleStorage"}).starts_with("storage is too short"));
}

TEST(HostileTorchFile, TensorsBeyondTheirStorages) {
  EXPECT_EQ(refusal_of_tensor({.offset = 1}),
            "tensor reaches beyond its storage: 'w' of F: got 7 elements, expected at most 6");
  for (const PickledTensor& tensor :
       {PickledTensor{.offset = INT64_MAX}, PickledTensor{.sizes = {2, 4}}, PickledTensor{.strides = {INT64_MAX, 1}},
        PickledTensor{.sizes = {1, int64_t{1} << 59}, .strides = {1, 16}},
        PickledTensor{.offset = 7, .sizes = {0, 3}}}) {
    EXPECT_TRUE(refusal_of_tensor(tensor).starts_with("tensor reaches beyond its storage"));
  }
  EXPECT_TRUE(refusal_of_tensor({.offset = -1}).starts_with("bad offset of a tensor"));
  EXPECT_TRUE(refusal_of_tensor({.sizes = {-2, 3}}).starts_with("bad size of a tensor"));
  EXPECT_TRUE(refusal_of_tensor({.strides = {-3, 1}}).starts_with("bad stride of a tensor"));
  EXPECT_TRUE(refusal_of_tensor({.sizes = {6}}).starts_with("sizes and strides differ in number"));
  EXPECT_TRUE(refusal_of_tensor({.sizes = {1, 1, 1, 1, 1}}).starts_with("too many dimensions"));
  for (const PickledTensor& tensor :
       {PickledTensor{.sizes = {int64_t{1} << 40}, .strides = {0}}, PickledTensor{.strides = {1, 1}},
        PickledTensor{.sizes = {int64_t{1} << 30, int64_t{1} << 29}, .strides = {0, 0}}}) {
    EXPECT_TRUE(refusal_of_tensor(tensor).starts_with("tensor reads an element of its storage twice"));
  }
  // Also where a size of 0 makes the tensor empty.
  constexpr int64_t kHuge = int64_t{1} << 40;
  for (const PickledTensor& tensor :
       {PickledTensor{.sizes = {INT64_MAX, INT64_MAX}}, PickledTensor{.sizes = {kHuge, kHuge}, .strides = {0, 0}},
        PickledTensor{.sizes = {kHuge, kHuge, 0}, .strides = {1, 1, 1}},
        PickledTensor{.sizes = {0, kHuge, kHuge}, .strides = {1, 1, 1}},
        PickledTensor{.sizes = {1, int64_t{1} << 60}, .strides = {1, 1}}}) {
    EXPECT_TRUE(refusal_of_tensor(tensor).starts_with("shape is too large: 'w' of F"));
  }
  std::string call = "ctorch._utils\n_rebuild_tensor_v2\n";
  expect_refusal(checkpoint(pickle_of_w(call + ")R")), "wrong arguments of a tensor");
  expect_refusal(checkpoint(pickle_of_w(call + "(NNNNtR")), "bad storage");
  std::string parameter = "ctorch._utils\n_rebuild_parameter\n";
  expect_refusal(checkpoint(pickle_of_w(parameter + ")R")), "wrong arguments");
  expect_refusal(checkpoint(pickle_of_w(parameter + "N\x85R")), "bad parameter");
  expect_refusal(checkpoint(pickle_of_w("ctorch\nSize\nN\x85R")), "bad torch.Size");
  expect_refusal(checkpoint(pickle_of_w("ctorch\ndevice\nN\x85R")), "bad torch.device");
}

TEST(HostileTorchFile, ManyViewsOfTheSameBytes) {
  // Views at every offset of a storage of float16, each of which would be a copy of twice its size.
  std::string opcodes = "]";
  for (int i = 0; i < 1000; ++i) {
    opcodes +=
        PickledTensor{
            .storage_type = "HalfStorage", .storage_elements = 500'000, .offset = i, .sizes = {400'000}, .strides = {1}}
            .opcodes() +
        "a";
  }
  expect_refusal(checkpoint(pickle(opcodes), std::string(1'000'000, '\0')), "too many views of the same bytes");
}

TEST(HostileTorchFile, ZipBombs) {
  std::string zeros(size_t{80} << 20, '\0');
  auto tensor = [](int64_t elements) {
    return pickle_of_w(PickledTensor{.storage_elements = elements, .sizes = {elements}, .strides = {1}}.opcodes());
  };
  expect_refusal(zip_bytes({{"a/data.pkl", tensor(20 << 20)}, {"a/data/0", zeros, true}}), "zip bomb: F");
  expect_refusal(zip_bytes({{"a/data.pkl", zeros.substr(0, 16 << 20), true}}), "pickle is too large");
  expect_refusal(zip_bytes({{"a/data.pkl", zeros.substr(0, 33 << 20)}}), "pickle is too large");
  // Claims: too many bytes for deflate, more than there are, fewer than there are.
  std::string small(1000, 'x');
  for (auto [claimed, part] :
       {std::pair(0xFFFFFFFEu, "got 4294967294 bytes packed into"), std::pair(1001u, "damaged or other bytes"),
        std::pair(999u, "damaged or other bytes"), std::pair(0u, "storage is too short")}) {
    expect_refusal(zip_bytes({{"a/data.pkl", tensor(200)}, {"a/data/0", small, true, claimed}}), part);
  }
  expect_refusal(zip_bytes({{"a/data.pkl", tensor(200)}, {"a/data/0", small, false, 2000u}}),
                 "2000 bytes stored as 1000");
  for (bool deflated : {false, true}) {
    expect_refusal(zip_bytes({{"a/data.pkl", tensor(200)}, {"a/data/0", small, deflated, 1000u, 77u}}), "checksum");
  }
}

TEST(HostileTorchFile, ArchivesThatAreOthers) {
  std::string w = pickle_of_w(PickledTensor{}.opcodes());
  expect_refusal(zip_bytes({}), "an archive without data.pkl");
  expect_refusal(zip_bytes({{"a/data.pkl", w}, {"b/data.pkl", w}}), "two pickles");
  expect_refusal(zip_bytes({{"a/data.pkl", w}, {"a/constants.pkl", ""}}), "a TorchScript program");
  expect_refusal(zip_bytes({{"a/data.pkl", w}, {"a/data.pkl", w}}), "two entries 'a/data.pkl'");
  expect_refusal(zip_bytes({{"a/data.pkl", w}, {"a/byteorder", "big"}}), "unsupported byte order");
  ZipPlaces at;
  std::string whole = zip_bytes({{"a/data.pkl", w}, {"a/data/0", std::string(24, '\1')}}, &at);
  auto changed = [&](size_t offset, auto value) {
    std::string bytes = whole;
    overwrite(bytes, offset, value);
    return bytes;
  };
  expect_refusal(changed(at.entries[0] + 8, uint16_t{1}), "an encrypted entry");
  expect_refusal(changed(at.entries[0] + 10, uint16_t{12}), "packing method 12");
  expect_refusal(changed(at.headers[0] + 8, uint16_t{8}), "a header that is not what the directory says");
  expect_refusal(changed(at.headers[0] + 30, 'b'), "a header that is not what the directory says");
  expect_refusal(changed(at.headers[0] + 26, uint16_t{9}), "a header that is not what the directory says");
  expect_refusal(changed(at.headers[0] + 26, uint16_t{60000}), "bytes before the directory");
  expect_refusal(changed(at.entries[0] + 42, uint32_t{1}), "no header at 1");
  expect_refusal(changed(at.entries[0] + 42, UINT32_MAX), "no sizes of 64 bits");
  expect_refusal(changed(at.entries[1] + 42, static_cast<uint32_t>(at.headers[0])), "a header that is not");
  expect_refusal(changed(at.entries[0], uint32_t{0}), "no entry of the directory");
  expect_refusal(changed(at.entries[1] + 28, UINT16_MAX), "an entry that leaves the directory");
  expect_refusal(changed(at.end + 10, UINT16_MAX), "a directory of 65535 entries");
  expect_refusal(changed(at.end + 10, uint16_t{1}), "bytes behind the last entry of the directory");
  expect_refusal(changed(at.end + 16, UINT32_MAX), "a directory of 2 entries");
  expect_refusal(changed(at.end + 20, uint16_t{1}), "no directory at its end");
}

TEST(HostileTorchFile, OverlappingEntries) {
  // The bytes of one entry are a whole other entry.
  std::string inner = zip_bytes({{"a/data/0", std::string(24, '\1')}});
  std::string w = pickle_of_w(PickledTensor{}.opcodes());
  ZipPlaces at;
  std::string bytes = zip_bytes({{"a/data.pkl", w}, {"a/data/1", inner}, {"a/data/0", std::string(24, '\2')}}, &at);
  overwrite(bytes, at.entries[2] + 42, static_cast<uint32_t>(at.headers[1] + 30 + 8));
  expect_refusal(bytes, "entries must not overlap");
}

// Changes a few bytes anywhere.
std::string mutated(std::string bytes, Rng& rng) {
  constexpr std::string_view kTelling(
      "\0\1\x7f\x80\xff"
      "(.0]})tQRusab",
      17);
  auto edits = 1 + rng.below(3);
  for (uint32_t i = 0; i < edits; ++i) {
    size_t at = rng.below(static_cast<uint32_t>(bytes.size()));
    bytes[at] = rng.below(2) ? kTelling[rng.below(kTelling.size())] : static_cast<char>(rng.next());
  }
  return bytes;
}

TEST(HostileTorchFile, ThousandsOfMutations) {
  // Of the pickle (the archive around it is right), and of the archive.
  std::string w =
      pickle("}" + pickle_text("m") + "}(" + pickle_text("w") + PickledTensor{}.opcodes() + pickle_text("v") +
             PickledTensor{.storage_type = "HalfStorage", .sizes = {3}, .strides = {2}}.opcodes() + "us" +
             pickle_text("k") + "]" + pickle_int(3) + "as");
  std::string whole = checkpoint(w);
  Rng rng(21, 0);
  auto next = [&](int i) { return i % 3 == 0 ? mutated(whole, rng) : checkpoint(mutated(w, rng)); };
  auto read = [](const std::filesystem::path& path) {
    TorchFile file = TorchFile::open(path);
    ASSERT_GE(touch(file), 0);
  };
  auto [accepted, refused] = read_hostile_files(6000, next, read);
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace tandem
