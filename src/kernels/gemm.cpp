#include "kernels/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/signal_block.h"
#include "kernels/own_product.h"
#include "tensor/arena.h"

namespace tandem {
namespace {

using dnnl::memory;

// What a primitive is compiled for: one chunk's sizes, strides and types.
struct ChunkKey {
  std::array<int64_t, 8> sizes{};  // m, n, k, a's two strides, b's two strides, c's row stride
  DType operands = DType::f32, result = DType::f32;
  bool accumulate = false;
  bool operator==(const ChunkKey&) const = default;
};

struct ChunkKeyHash {
  size_t operator()(const ChunkKey& key) const {
    uint64_t h = static_cast<uint64_t>(key.operands) * 4 + static_cast<uint64_t>(key.result) * 2 + key.accumulate;
    for (int64_t size : key.sizes) h = (h ^ static_cast<uint64_t>(size)) * 0x9E3779B97F4A7C15u + (h >> 29);
    return h;
  }
};

ChunkKey key_of(const Product& p, int64_t m, int64_t n, int64_t k, bool accumulate) {
  return {{m, n, k, p.a_row_stride, p.a_column_stride, p.b_row_stride, p.b_column_stride, p.c_row_stride},
          p.operands,
          p.result,
          accumulate};
}

struct FormHash {
  size_t operator()(const Product& form) const {
    return ChunkKeyHash()(key_of(form, form.m, form.n, form.k, form.accumulate));
  }
};

// A compiled chunk with one set of memory handles per worker.
struct Prepared {
  dnnl::matmul primitive;
  const char* implementation = "";
  bool signals_wait = false;  // see moves_stack_pointer
  size_t scratch_bytes = 0;
  struct Handles {
    memory a, b, c, scratch;
  };
  std::vector<Handles> workers;
};

memory::data_type data_type(DType t) { return t == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32; }

// oneDNN 3 dropped the operation descriptors of oneDNN 2.
dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const memory::desc& a, const memory::desc& b,
                                      const memory::desc& c, const dnnl::primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, a, b, c, attr};
#else
  return {dnnl::matmul::desc(a, b, c), attr, engine};
#endif
}

void cap_onednn(Isa isa) {
  // A second call after oneDNN's first use is refused, and the first cap stays: more than the cap is never used, and a
  // Context of a lower instruction set merely gets faster products.
  switch (isa) {
    case Isa::avx2: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2); return;
    case Isa::avx512: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_vnni); return;
    case Isa::avx512_bf16: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16); return;
    case Isa::amx: return;
  }
}

// Some kernels of the implementation "gemm:jit" use the stack pointer as one more register, pointing into the heap. A
// signal is handled where it points: whatever lies there is lost (oneDNN issue 4845, in all releases before 3.12).
bool moves_stack_pointer(std::string_view implementation) {
  return implementation.find("gemm:jit") != std::string_view::npos;
}

int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

// The size of equal pieces of n of at most `most`, in whole vectors.
int64_t even_pieces(int64_t n, int64_t most) {
  constexpr int64_t kVectors = 32;
  int64_t size = pieces(n, pieces(n, most));
  return std::min(n, pieces(size, kVectors) * kVectors);
}

}  // namespace

// The figures are measured (oneDNN 2.6, AVX-512, products of width 64 to 448 and vocabulary 32768): these chunks run at
// 85 to 100 % of a core's peak, where whole products with long sums or wide results fall to 45 to 75 %.
ProductChunks product_chunks(const Product& p) {
  constexpr int64_t kRows = 256, kLeastRows = 128, kWholeColumns = 2048, kColumns = 512, kDepth = 512;
  constexpr int64_t kWantedChunks = 4;  // enough to share among threads of which one may be held up
  constexpr double kLeastWork = 4e6;    // below it the cost of a call shows
  bool a_transposed = p.a_column_stride != 1;
  ProductChunks size;
  size.columns = p.n <= kWholeColumns && !a_transposed ? p.n : even_pieces(p.n, kColumns);
  size.rows = even_pieces(p.m, kRows);
  // Slices of k are added in the result, which must not round them to bf16.
  size.depth = p.result == DType::f32 && p.k > 2 * kDepth ? even_pieces(p.k, kDepth) : p.k;
  auto work = [&] {
    return 2.0 * static_cast<double>(size.rows) * static_cast<double>(size.columns) * static_cast<double>(p.k);
  };
  auto chunks = [&] { return pieces(p.m, size.rows) * pieces(p.n, size.columns); };
  while (size.rows < p.m && work() < kLeastWork) size.rows = std::min(p.m, 2 * size.rows);
  while (chunks() < kWantedChunks && work() > 2 * kLeastWork) {
    if (size.rows > kLeastRows) {
      size.rows = even_pieces(p.m, std::max(kLeastRows, size.rows / 2));
    } else if (size.columns > kColumns) {
      size.columns = even_pieces(p.n, std::max(kColumns, size.columns / 2));
    } else {
      break;
    }
  }
  return size;
}

namespace {

// One dimension of a product, cut into pieces of which the last may be shorter.
struct Axis {
  int64_t size, count, last;
  Axis(int64_t n, int64_t piece) : size(piece), count(pieces(n, piece)), last(n - (count - 1) * piece) {}
  bool is_last(int64_t index) const { return index == count - 1; }
  int64_t length(bool last_piece) const { return last_piece ? last : size; }
};

// Slices of k: the first of several may overwrite the result, all others add to it.
enum class Slice { first, middle, last };

struct Cut {
  Axis rows, columns, depth;
  explicit Cut(const Product& p) : Cut(p, product_chunks(p)) {}
  Cut(const Product& p, const ProductChunks& size)
      : rows(p.m, size.rows), columns(p.n, size.columns), depth(p.k, size.depth) {}

  Slice slice(int64_t index) const {
    if (depth.is_last(index)) return Slice::last;
    return index == 0 ? Slice::first : Slice::middle;
  }
  bool has(Slice s) const { return s == Slice::last || depth.count > (s == Slice::first ? 1 : 2); }
  bool adds(Slice s, bool accumulate) const {
    return accumulate || s == Slice::middle || (s == Slice::last && depth.count > 1);
  }
};

// The primitives of one product, by the kind of chunk: last row or column of chunks or not, and the slice of k.
struct Kinds {
  static constexpr size_t kCount = 12;
  std::array<Prepared*, kCount> prepared{};
  static size_t index(bool last_row, bool last_column, Slice slice) {
    return static_cast<size_t>(slice) * 4 + (last_row ? 2u : 0u) + (last_column ? 1u : 0u);
  }
};

}  // namespace

// Products by oneDNN.
class OneDnn {
 public:
  explicit OneDnn(int threads) : engine_(dnnl::engine::kind::cpu, 0) {
    for (int i = 0; i < threads; ++i) streams_.emplace_back(engine_);
    scratch_.resize(static_cast<size_t>(threads));
  }

  void run(ThreadPool& pool, const Product& p) {
    Cut cut(p);
    Kinds kinds = prepare_all(p, cut);
    pool.run(cut.rows.count * cut.columns.count, [&](int64_t chunk, int worker) {
      int64_t row = chunk % cut.rows.count, column = chunk / cut.rows.count;
      for (int64_t slice = 0; slice < cut.depth.count; ++slice) {
        size_t kind = Kinds::index(cut.rows.is_last(row), cut.columns.is_last(column), cut.slice(slice));
        execute(*kinds.prepared[kind], p, row * cut.rows.size, column * cut.columns.size, slice * cut.depth.size,
                static_cast<size_t>(worker));
      }
    });
  }

  const char* implementation(const Product& p) {
    Cut cut(p);
    return prepare(p, cut.rows.size, cut.columns.size, cut.depth.size, p.accumulate).implementation;
  }

 private:
  // Prefill and evaluation meet many lengths: enough for any training step, and bounded.
  static constexpr size_t kMostPrepared = 512;

  Kinds prepare_all(const Product& p, const Cut& cut) {
    if (prepared_.size() + Kinds::kCount > kMostPrepared) prepared_.clear();
    Kinds kinds;
    size_t scratch = 0;
    for (Slice slice : {Slice::first, Slice::middle, Slice::last}) {
      if (!cut.has(slice)) continue;
      for (bool last_row : {false, true}) {
        for (bool last_column : {false, true}) {
          Prepared& prepared = prepare(p, cut.rows.length(last_row), cut.columns.length(last_column),
                                       cut.depth.length(slice == Slice::last), cut.adds(slice, p.accumulate));
          kinds.prepared[Kinds::index(last_row, last_column, slice)] = &prepared;
          scratch = std::max(scratch, prepared.scratch_bytes);
        }
      }
    }
    reserve_scratch(scratch);
    return kinds;
  }

  Prepared& prepare(const Product& p, int64_t m, int64_t n, int64_t k, bool accumulate) {
    const ChunkKey key = key_of(p, m, n, k, accumulate);
    auto found = prepared_.find(key);
    if (found != prepared_.end()) return found->second;
    return prepared_.emplace(key, compile(key)).first->second;
  }

  Prepared compile(const ChunkKey& key) {
    omp_set_num_threads(1);  // the primitive is planned for the number of threads at its creation
    auto [m, n, k, a_row, a_column, b_row, b_column, c_row] = key.sizes;
    memory::desc a({m, k}, data_type(key.operands), memory::dims{a_row, a_column});
    memory::desc b({k, n}, data_type(key.operands), memory::dims{b_row, b_column});
    memory::desc c({m, n}, data_type(key.result), memory::dims{c_row, 1});
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (key.accumulate) {
      dnnl::post_ops ops;
      ops.append_sum(1.0f);
      attr.set_post_ops(ops);
    }
    Prepared out;
    try {
      dnnl::matmul::primitive_desc desc = describe(engine_, a, b, c, attr);
      out.primitive = dnnl::matmul(desc);
      out.implementation = desc.impl_info_str();
      out.signals_wait = moves_stack_pointer(out.implementation);
      out.scratch_bytes = desc.scratchpad_desc().get_size();
      for (size_t worker = 0; worker < streams_.size(); ++worker) {
        out.workers.push_back({memory(a, engine_, nullptr), memory(b, engine_, nullptr), memory(c, engine_, nullptr),
                               memory(desc.scratchpad_desc(), engine_, nullptr)});
      }
    } catch (const dnnl::error& error) {
      throw LogicError({.what = "oneDNN refuses a matrix product",
                        .where = fmt::format("m {}, n {}, k {}, {} operands, {} result", m, n, k,
                                             dtype_name(key.operands), dtype_name(key.result)),
                        .got = error.what()});
    }
    return out;
  }

  void reserve_scratch(size_t bytes) {
    if (bytes <= scratch_bytes_) return;
    scratch_bytes_ = bytes + bytes / 4;
    for (Storage& scratch : scratch_) scratch = Storage(DType::u8, {static_cast<int64_t>(scratch_bytes_)});
  }

  // The chunk whose first element is C[m, n], over the slice of k that starts at k.
  void execute(Prepared& prepared, const Product& p, int64_t m, int64_t n, int64_t k, size_t worker) {
    omp_set_num_threads(1);  // a setting of the calling thread
    int64_t width = dtype_bytes(p.operands);
    Prepared::Handles& at = prepared.workers[worker];
    // oneDNN's handles are not const; operands are only read.
    char* a = const_cast<char*>(static_cast<const char*>(p.a));
    char* b = const_cast<char*>(static_cast<const char*>(p.b));
    at.a.set_data_handle(a + (m * p.a_row_stride + k * p.a_column_stride) * width);
    at.b.set_data_handle(b + (k * p.b_row_stride + n * p.b_column_stride) * width);
    at.c.set_data_handle(static_cast<char*>(p.c) + (m * p.c_row_stride + n) * dtype_bytes(p.result));
    at.scratch.set_data_handle(scratch_[worker].tensor().data);
    std::array<dnnl_exec_arg_t, 4> args = {{{DNNL_ARG_SRC, at.a.get()},
                                            {DNNL_ARG_WEIGHTS, at.b.get()},
                                            {DNNL_ARG_DST, at.c.get()},
                                            {DNNL_ARG_SCRATCHPAD, at.scratch.get()}}};
    std::optional<SignalBlock> signals_wait;
    if (prepared.signals_wait) signals_wait.emplace();
    dnnl_status_t status = dnnl_primitive_execute(prepared.primitive.get(), streams_[worker].get(),
                                                  static_cast<int>(args.size()), args.data());
    if (status != dnnl_success) {
      throw LogicError({.what = "oneDNN failed in a matrix product", .got = fmt::format("status {}", int(status))});
    }
  }

  dnnl::engine engine_;
  std::vector<dnnl::stream> streams_;  // one per worker
  std::vector<Storage> scratch_;       // one per worker
  size_t scratch_bytes_ = 0;
  std::unordered_map<ChunkKey, Prepared, ChunkKeyHash> prepared_;
};

class Gemm::Impl {
 public:
  Impl(Isa isa, const cpu::ProductTypes& kernels, int threads) : isa_(isa), own_(kernels, threads), onednn_(threads) {}

  void run(ThreadPool& pool, const Product& p) {
    if (noted_) noted_->push_back(form_of(p));
    run(pool, p, by(p));
  }
  void run(ThreadPool& pool, const Product& p, By by) {
    std::lock_guard one_at_a_time(mutex_);
    if (by == By::onednn) return onednn_.run(pool, p);
    if (!own_.has(p)) {
      throw LogicError({.what = "no own kernel for a matrix product",
                        .got = fmt::format("{} operands on {}", dtype_name(p.operands), isa_name(isa_))});
    }
    own_.run(pool, p);
  }

  // oneDNN multiplies bf16 from AVX-512 on.
  bool has(const Product& p, By by) const {
    if (by == By::own) return own_.has(p);
    return p.operands == DType::f32 || isa_ >= Isa::avx512;
  }

  void choose(const Product& form, By by) { chosen_[form_of(form)] = by; }
  void forget_choices() { chosen_.clear(); }
  By by(const Product& p) const {
    if (!chosen_.empty()) {
      auto found = chosen_.find(form_of(p));
      if (found != chosen_.end()) return found->second;
    }
    return own_kernels(isa_, p) ? By::own : By::onednn;
  }
  void note_forms(std::vector<Product>* forms) { noted_ = forms; }

  std::string implementation(const Product& p) {
    if (by(p) == By::own) return fmt::format("tandem, {}", isa_name(isa_));
    std::lock_guard one_at_a_time(mutex_);
    return fmt::format("oneDNN, {}", onednn_.implementation(p));
  }

 private:
  Isa isa_;
  std::mutex mutex_;
  OwnProducts own_;
  OneDnn onednn_;
  std::unordered_map<Product, By, FormHash> chosen_;
  std::vector<Product>* noted_ = nullptr;
};

// Measured on AVX-512 BF16 (docs/performance.md). oneDNN has good kernels for plain forward products; where the left
// operand is transposed (gradients of weights) or rows have gaps (logits) it falls back to others, which ours beat in
// bf16, and in float32 for wide results. On AMX it reached a sixth of two cores' peak: there every product in bf16 is
// ours.
bool own_kernels(Isa isa, const Product& p) {
  constexpr int64_t kWide = 2048;
  const bool turned = p.a_column_stride != 1;
  const bool gaps = (!turned && p.a_row_stride != p.k) || p.c_row_stride != p.n;
  if (p.operands == DType::bf16) return isa == Isa::amx || (isa == Isa::avx512_bf16 && (turned || gaps));
  return isa >= Isa::avx512 && !turned && gaps && p.n > kWide;
}

Product form_of(const Product& product) {
  Product form = product;
  form.a = form.b = form.c = nullptr;
  return form;
}

Gemm::Gemm(Isa isa, const cpu::ProductTypes& kernels, int threads) {
  cap_onednn(isa);
  impl_ = std::make_unique<Impl>(isa, kernels, threads);
}
Gemm::~Gemm() = default;

void Gemm::run(ThreadPool& pool, const Product& product) {
  if (product.m > 0 && product.n > 0) impl_->run(pool, product);
}
void Gemm::run(ThreadPool& pool, const Product& product, By by) {
  if (product.m > 0 && product.n > 0) impl_->run(pool, product, by);
}
bool Gemm::has(const Product& product, By by) const { return impl_->has(product, by); }
void Gemm::choose(const Product& form, By by) { impl_->choose(form, by); }
void Gemm::forget_choices() { impl_->forget_choices(); }
Gemm::By Gemm::by(const Product& product) const { return impl_->by(product); }
void Gemm::note_forms(std::vector<Product>* forms) { impl_->note_forms(forms); }
std::string Gemm::implementation(const Product& product) { return impl_->implementation(product); }

}  // namespace tandem
