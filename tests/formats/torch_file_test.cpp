#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "formats/safetensors.h"
#include "formats/zip_archive.h"

namespace tandem {
namespace {

using test::message_of;
using test::TemporaryFolder;

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(TANDEM_SOURCE_DIR) / "tests/formats/data" / name;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.contiguous() &&
         (a.bytes() == 0 || std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())) == 0);
}

// Written by PyTorch in several ways (data/make.py), with the same contents.
class TorchFiles : public testing::TestWithParam<const char*> {};

TEST_P(TorchFiles, HaveTheTensorsThatPyTorchHas) {
  TorchFile file = TorchFile::open(data(GetParam()));
  SafetensorsFile expected = SafetensorsFile::open(data("expected.safetensors"));
  ASSERT_EQ(file.names().size(), expected.names().size());
  for (const std::string& name : expected.names()) {
    ASSERT_TRUE(file.contains(name)) << name;
    Tensor want = expected.tensor(name);
    EXPECT_EQ(file.dtype(name), want.dtype) << name;
    EXPECT_EQ(file.shape(name), want.shape) << name;
    EXPECT_TRUE(file.tensor(name).defined()) << name;
    EXPECT_TRUE(same_bits(file.tensor(name), want)) << name;
    EXPECT_EQ(file.tensor(name).data, file.tensor(name).data) << name;
  }
  file.release();
  for (const std::string& name : expected.names()) EXPECT_TRUE(same_bits(file.tensor(name), expected.tensor(name)));
  EXPECT_EQ(file.names().front(), "model.0.weight");
}

TEST_P(TorchFiles, HavePlainValuesAsMetadata) {
  TorchFile file = TorchFile::open(data(GetParam()));
  std::map<std::string, std::string> top;
  for (const auto& [name, text] : file.metadata()) {
    if (!name.starts_with("optimizer.")) top.emplace(name, text);
  }
  EXPECT_EQ(top, (std::map<std::string, std::string>{{"step", "3"},
                                                     {"seed", "9223372036854779904"},
                                                     {"far", "-1099511627776"},
                                                     {"loss", "0.1"},
                                                     {"note", "grüß"},
                                                     {"flag", "true"},
                                                     {"none", "None"},
                                                     {"sizes.0", "1"},
                                                     {"sizes.1.0", "2"},
                                                     {"sizes.1.1", "3"},
                                                     {"dtype", "torch.bfloat16"},
                                                     {"device", "cpu"},
                                                     {"shape.0", "5"},
                                                     {"shape.1", "6"}}));
  EXPECT_EQ(file.metadata().at("optimizer.param_groups.0.lr"), "0.001");
  EXPECT_EQ(file.metadata().at("optimizer.param_groups.0.params.3"), "3");
}

INSTANTIATE_TEST_SUITE_P(Kinds, TorchFiles,
                         testing::Values("checkpoint.pt", "protocol5.pt", "deflated.pt", "no_checksum.pt"),
                         [](const auto& kind) { return std::filesystem::path(kind.param).stem().string(); });

TEST(TorchFile, WhatNeedsNoConversionIsAView) {
  TorchFile file = TorchFile::open(data("checkpoint.pt"));
  auto at = [&](const char* name) { return static_cast<const char*>(file.tensor(name).data); };
  EXPECT_EQ(at("model.fused") + 4 * 4 * 4, at("model.fused.last"));
  EXPECT_EQ(at("model.tied"), at("model.0.weight"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(at("model.fused")) % 64, 0u);  // the map begins at a page
  TorchFile moved = std::move(file);
  const char* before = static_cast<const char*>(moved.tensor("model.fused").data);
  moved.release();
  EXPECT_EQ(moved.tensor("model.fused").data, before);
}

std::string refusal(const std::string& name) {
  std::string message = message_of<InputError>([&] { TorchFile::open(data(name)); });
  std::string folder = data("").string();
  for (size_t at; (at = message.find(folder)) != std::string::npos;) message.erase(at, folder.size());
  return message;
}

TEST(TorchFile, RefusesWhatIsNotTensorsAndNamesIt) {
  EXPECT_EQ(refusal("legacy.pt"),
            "not a PyTorch checkpoint: legacy.pt: got the format before PyTorch 1.6, expected a zip archive written by "
            "torch.save; re-save it in Python: torch.save(torch.load(FILE, weights_only=True), NEW)");
  EXPECT_EQ(refusal("module.pt"),
            "bad pickle: module/data.pkl of module.pt, byte 34: got the global 'torch.nn.modules.linear.Linear', "
            "expected only tensors, dictionaries, lists and plain values; nothing in a file is ever executed; save a "
            "state dict: torch.save(model.state_dict(), FILE)");
  EXPECT_NE(refusal("numpy.pt").find("the global 'numpy._core.multiarray.scalar'"), std::string::npos);
  EXPECT_NE(refusal("complex.pt").find("the global 'torch.ComplexFloatStorage'"), std::string::npos);
  EXPECT_EQ(
      refusal("expanded.pt"),
      "tensor reads an element of its storage twice: 'x' of expanded.pt: got an expanded tensor, expected strides "
      "that do not overlap; save tensor.contiguous()");
  TorchFile file = TorchFile::open(data("checkpoint.pt"));
  EXPECT_TRUE(message_of<InputError>([&] { file.tensor("absent"); }).starts_with("missing tensor: "));
}

struct Written {
  TemporaryFolder folder;
  float numbers[6] = {1, 2, 3, 4, 5, NAN};
  bf16 brains[2] = {0x3F80, 0x7FC1};
  int64_t longs[1] = {INT64_MIN};
  unsigned char bytes[3] = {0, 1, 255};
  double doubles[1] = {1e300};
  std::vector<NamedTensor> entries{{"w", Tensor(numbers, DType::f32, {2, 3})},
                                   {"w.tied", Tensor(numbers, DType::f32, {2, 3})},
                                   {"w.columns", Tensor(numbers, DType::f32, {2, 3}).slice_columns(1, 3)},
                                   {"brains", Tensor(brains, DType::bf16, {2})},
                                   {"longs", Tensor(longs, DType::i64, {1, 1})},
                                   {"bytes", Tensor(bytes, DType::u8, {3})},
                                   {"double", Tensor(doubles, DType::f64, {})},
                                   {"empty", Tensor(numbers, DType::f32, {0, 2})}};
};

TEST(TorchFile, ReadsWhatItWrites) {
  Written written;
  for (const std::string key : {"", "model"}) {
    auto path = written.folder / ("a" + key);
    write_torch_file(path, written.entries, key,
                     {{"step", int64_t{1} << 40}, {"note", "ü"}, {"lr", 0.25}, {"tied", true}});
    TorchFile file = TorchFile::open(path);
    std::string prefix = key.empty() ? "" : key + ".";
    ASSERT_EQ(file.names().size(), written.entries.size());
    for (size_t i = 0; i < written.entries.size(); ++i) {
      EXPECT_EQ(file.names()[i], prefix + written.entries[i].name);
      if (!written.entries[i].tensor.contiguous()) continue;
      EXPECT_TRUE(same_bits(file.tensor(file.names()[i]), written.entries[i].tensor)) << file.names()[i];
    }
    EXPECT_EQ(file.tensor(prefix + "w.tied").data, file.tensor(prefix + "w").data);
    EXPECT_EQ(file.tensor(prefix + "w.columns").as<float>()[2], 5.0f);
    EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{
                                   {"step", "1099511627776"}, {"note", "ü"}, {"lr", "0.25"}, {"tied", "true"}}));
  }
}

TEST(TorchFile, WritesAlignedStoragesAndEqualBytes) {
  Written written;
  write_torch_file(written.folder / "a", written.entries);
  write_torch_file(written.folder / "b", written.entries);
  EXPECT_EQ(read_file(written.folder / "a"), read_file(written.folder / "b"));
  ZipArchive archive = ZipArchive::open(written.folder / "a");
  for (const ZipEntry& entry : archive.entries()) {
    EXPECT_EQ(entry.begin % 64, 0u) << entry.name;
    EXPECT_FALSE(entry.deflated);
    EXPECT_NO_THROW(archive.check_stored(entry));
  }
}

TEST(TorchFile, RefusesToWriteANameTwice) {
  Written written;
  written.entries.push_back(written.entries[0]);
  EXPECT_THROW(write_torch_file(written.folder / "a", written.entries), LogicError);
  written.entries.pop_back();
  EXPECT_THROW(write_torch_file(written.folder / "a", written.entries, "", {{"w", 1.0}}), LogicError);
  EXPECT_THROW(write_torch_file(written.folder / "a", written.entries, "model", {{"model", 1.0}}), LogicError);
  EXPECT_FALSE(std::filesystem::exists(written.folder / "a"));
}

}  // namespace
}  // namespace tandem
