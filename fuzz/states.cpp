// Saved states, without the seal that would keep a fuzzer out: those of a double decoder, and of a YOCO model, which
// keeps only the latest tokens of its lower half.
#include <cstdlib>

#include "arch/double_decoder_state.h"
#include "arch/state_archive.h"
#include "arch/yoco_state.h"
#include "base/error.h"
#include "targets.h"

namespace tandem::fuzz {
namespace {

using Columns = std::vector<PagePool::Column>;

constexpr int64_t kVocabulary = 29, kMostTokens = 200;

void yoco_state(std::string_view bytes) {
  static ModelConfig config;
  config.self_decoder = SelfDecoder::sliding_window;
  config.window = 20;
  static YocoCaches caches({.bytes = int64_t{1} << 18, .tokens = 256}, Columns(2, {DType::f32, 1, 2}),
                           Columns(2, {DType::f32, 1, 2}));
  try {
    YocoState state(caches, config);
    if (!load_state(state, bytes, kVocabulary, kMostTokens, "state")) return;
    std::string again;
    StateArchive archive(again);
    state.transfer(archive);
    if (again != bytes) std::abort();
    std::unique_ptr<State> branch = state.fork();
    branch->unwrite(branch->written() / 2);
    if (branch->reserve_write(3)) branch->unwrite(branch->written());
    branch->close_block();
    branch->keep_read(branch->length() / 2);
  } catch (const InputError&) {
  }
  if (caches.bytes_in_use() != 0) std::abort();
}

}  // namespace

void saved_state(std::string_view bytes) {
  yoco_state(bytes);
  static DoubleDecoderCaches caches({.bytes = int64_t{1} << 18, .tokens = 256, .keep_outputs = true},
                                    Columns(2, {DType::f32, 1, 2}), Columns(1, {DType::f32, 1, 2}),
                                    Columns(2, {DType::f32, 1, 2}), Columns(4, {DType::f32, 1, 2}));
  try {
    DoubleDecoderState state(caches);
    if (!load_state(state, bytes, kVocabulary, kMostTokens, "state")) return;
    // What was accepted is written as it was read, and can be used.
    std::string again;
    StateArchive archive(again);
    state.transfer(archive);
    if (again != bytes) std::abort();
    std::unique_ptr<State> branch = state.fork();
    branch->unread_block();
    branch->close_block();
    branch->keep_read(branch->length() / 2);
    branch->rest();
    if (branch->reserve_read(3)) branch->reserve_write(3);
  } catch (const InputError&) {
  }
  if (caches.bytes_in_use() != 0) std::abort();
}

}  // namespace tandem::fuzz
