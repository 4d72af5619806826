#include "kernels/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "base/error.h"
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

// A compiled chunk with one set of memory handles per worker.
struct Prepared {
  dnnl::matmul primitive;
  const char* implementation = "";
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

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

ProductChunks product_chunks(const Product& p) {
  // Work below which a chunk's fixed costs (a call of some microseconds) would show.
  constexpr double kLeastWork = 4e6;
  constexpr int64_t kMostChunks = 8;
  double work = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(work / kLeastWork), 1, kMostChunks);
  if (wanted == 1) return {p.m, p.n};
  // Cutting the longer side leaves chunks that are nearest to squares; multiples of 64 suit the blocked kernels.
  if (p.m >= p.n) return {std::min(p.m, round_up((p.m + wanted - 1) / wanted, 64)), p.n};
  return {p.m, std::min(p.n, round_up((p.n + wanted - 1) / wanted, 64))};
}

class Gemm::Impl {
 public:
  explicit Impl(int threads) : engine_(dnnl::engine::kind::cpu, 0) {
    for (int i = 0; i < threads; ++i) streams_.emplace_back(engine_);
    scratch_.resize(static_cast<size_t>(threads));
  }

  void run(ThreadPool& pool, const Product& p) {
    std::lock_guard one_at_a_time(mutex_);
    ProductChunks size = product_chunks(p);
    int64_t row_chunks = (p.m + size.rows - 1) / size.rows;
    int64_t column_chunks = (p.n + size.columns - 1) / size.columns;
    int64_t last_rows = p.m - (row_chunks - 1) * size.rows;
    int64_t last_columns = p.n - (column_chunks - 1) * size.columns;
    if (prepared_.size() + 4 > kMostPrepared) prepared_.clear();
    // The four kinds of chunk: inner or last in either direction.
    std::array<Prepared*, 4> kinds{};
    for (int kind = 0; kind < 4; ++kind) {
      kinds[static_cast<size_t>(kind)] =
          &prepare(p, kind & 1 ? last_rows : size.rows, kind & 2 ? last_columns : size.columns);
    }
    reserve_scratch(kinds);
    pool.run(row_chunks * column_chunks, [&](int64_t chunk, int worker) {
      int64_t row = chunk % row_chunks, column = chunk / row_chunks;
      size_t kind = (row == row_chunks - 1 ? 1u : 0u) + (column == column_chunks - 1 ? 2u : 0u);
      execute(*kinds[kind], p, row * size.rows, column * size.columns, static_cast<size_t>(worker));
    });
  }

  const char* implementation(const Product& p) {
    std::lock_guard one_at_a_time(mutex_);
    ProductChunks size = product_chunks(p);
    return prepare(p, size.rows, size.columns).implementation;
  }

 private:
  // Prefill and evaluation meet many lengths: enough for any training step, and bounded.
  static constexpr size_t kMostPrepared = 1024;

  Prepared& prepare(const Product& p, int64_t m, int64_t n) {
    ChunkKey key{{m, n, p.k, p.a_row_stride, p.a_column_stride, p.b_row_stride, p.b_column_stride, p.c_row_stride},
                 p.operands,
                 p.result,
                 p.accumulate};
    auto found = prepared_.find(key);
    if (found != prepared_.end()) return found->second;
    return prepared_.emplace(key, compile(p, m, n)).first->second;
  }

  Prepared compile(const Product& p, int64_t m, int64_t n) {
    omp_set_num_threads(1);  // the primitive is planned for the number of threads at its creation
    memory::desc a({m, p.k}, data_type(p.operands), memory::dims{p.a_row_stride, p.a_column_stride});
    memory::desc b({p.k, n}, data_type(p.operands), memory::dims{p.b_row_stride, p.b_column_stride});
    memory::desc c({m, n}, data_type(p.result), memory::dims{p.c_row_stride, 1});
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (p.accumulate) {
      dnnl::post_ops ops;
      ops.append_sum(1.0f);
      attr.set_post_ops(ops);
    }
    Prepared out;
    try {
      dnnl::matmul::primitive_desc desc = describe(engine_, a, b, c, attr);
      out.primitive = dnnl::matmul(desc);
      out.implementation = desc.impl_info_str();
      out.scratch_bytes = desc.scratchpad_desc().get_size();
      for (size_t worker = 0; worker < streams_.size(); ++worker) {
        out.workers.push_back({memory(a, engine_, nullptr), memory(b, engine_, nullptr), memory(c, engine_, nullptr),
                               memory(desc.scratchpad_desc(), engine_, nullptr)});
      }
    } catch (const dnnl::error& error) {
      throw LogicError({.what = "oneDNN refuses a matrix product",
                        .where = fmt::format("m {}, n {}, k {}, {} operands, {} result", m, n, p.k,
                                             dtype_name(p.operands), dtype_name(p.result)),
                        .got = error.what()});
    }
    return out;
  }

  void reserve_scratch(const std::array<Prepared*, 4>& kinds) {
    size_t bytes = 0;
    for (Prepared* kind : kinds) bytes = std::max(bytes, kind->scratch_bytes);
    if (bytes <= scratch_bytes_) return;
    scratch_bytes_ = bytes + bytes / 4;
    for (Storage& scratch : scratch_) scratch = Storage(DType::u8, {static_cast<int64_t>(scratch_bytes_)});
  }

  void execute(Prepared& prepared, const Product& p, int64_t row, int64_t column, size_t worker) {
    omp_set_num_threads(1);  // a setting of the calling thread
    int64_t operand_bytes = dtype_bytes(p.operands);
    Prepared::Handles& at = prepared.workers[worker];
    // oneDNN's handles are not const; operands are only read.
    at.a.set_data_handle(const_cast<char*>(static_cast<const char*>(p.a)) + row * p.a_row_stride * operand_bytes);
    at.b.set_data_handle(const_cast<char*>(static_cast<const char*>(p.b)) + column * p.b_column_stride * operand_bytes);
    at.c.set_data_handle(static_cast<char*>(p.c) + (row * p.c_row_stride + column) * dtype_bytes(p.result));
    at.scratch.set_data_handle(scratch_[worker].tensor().data);
    std::array<dnnl_exec_arg_t, 4> args = {{{DNNL_ARG_SRC, at.a.get()},
                                            {DNNL_ARG_WEIGHTS, at.b.get()},
                                            {DNNL_ARG_DST, at.c.get()},
                                            {DNNL_ARG_SCRATCHPAD, at.scratch.get()}}};
    dnnl_status_t status = dnnl_primitive_execute(prepared.primitive.get(), streams_[worker].get(),
                                                  static_cast<int>(args.size()), args.data());
    if (status != dnnl_success) {
      throw LogicError({.what = "oneDNN failed in a matrix product", .got = fmt::format("status {}", int(status))});
    }
  }

  std::mutex mutex_;
  dnnl::engine engine_;
  std::vector<dnnl::stream> streams_;  // one per worker
  std::vector<Storage> scratch_;       // one per worker
  size_t scratch_bytes_ = 0;
  std::unordered_map<ChunkKey, Prepared, ChunkKeyHash> prepared_;
};

Gemm::Gemm(Isa isa, int threads) {
  cap_onednn(isa);
  impl_ = std::make_unique<Impl>(threads);
}
Gemm::~Gemm() = default;

void Gemm::run(ThreadPool& pool, const Product& product) {
  if (product.m > 0 && product.n > 0) impl_->run(pool, product);
}
const char* Gemm::implementation(const Product& product) { return impl_->implementation(product); }

}  // namespace tandem
