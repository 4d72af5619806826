#include "eval/golden_blocks.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "eval/golden_fields.h"
#include "formats/block_transformer_names.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

void read_embedder(const Json& json, ModelConfig& c, const std::string& where) {
  BlockConfig& b = c.block;
  b.embedder = choose<BlockEmbedder>(
      json, "cls", where,
      {{"lookup", BlockEmbedder::lookup}, {"roberta", BlockEmbedder::roberta}, {"roberta_cls", BlockEmbedder::cls}});
  b.embedder_dim = json_int(json, "hidden_size", where);
  require_equal(json, "n_embedding_tokens", 1, where);
  bool lookup = b.embedder == BlockEmbedder::lookup;
  choose<bool>(json, "projection_method", where, {{lookup ? "concat" : "projection_layer", true}});
  if (lookup) return;
  b.embedder_layers = json_int(json, "num_hidden_layers", where);
  b.embedder_heads = json_int(json, "num_attention_heads", where);
  b.embedder_mlp_dim = json_int(json, "intermediate_size", where);
  b.embedder_pad_id = json_int(json, "pad_token_id", where);
  b.embedder_positions = json_int(json, "max_position_embeddings", where);
  require_equal(json, "layer_norm_eps", c.output_norm_eps, where);
  require_equal(json, "bos_token_id", static_cast<double>(c.bos_id), where);
  require_equal(json, "type_vocab_size", 1, where);
  if (b.embedder == BlockEmbedder::cls) b.cls_tokens = json_int(json, "n_cls_tokens", where);
}

// What both decoders of GPT-NeoX have in common.
void check_neox(const Json& json, const ModelConfig& c, int64_t turned, const std::string& where) {
  choose<bool>(json, "cls", where, {{"gpt-neo-x", true}});
  choose<bool>(json, "hidden_act", where, {{"gelu", true}});
  require_flag(json, "use_parallel_residual", true, where);
  require_equal(json, "rotary_pct", c.block.rotary_fraction, where);
  require_equal(json, "rotary_ndims", static_cast<double>(turned), where);
  require_equal(json, "rotary_emb_base", c.rope_base, where);
  require_equal(json, "layer_norm_eps", c.output_norm_eps, where);
}

void read_token_decoder(const Json& json, ModelConfig& c, const std::string& where) {
  BlockConfig& b = c.block;
  b.token_decoder = choose<TokenDecoder>(json, "decoding_strategy", where,
                                         {{"prefix", TokenDecoder::prefix},
                                          {"summation", TokenDecoder::summation},
                                          {"cross_attention", TokenDecoder::cross_attention}});
  choose<bool>(json, "expansion_method", where, {{"expansion_layer", true}});
  b.expansion = json_int(json, "expansion_ratio", where);
  b.token_dim = json_int(json, "hidden_size", where);
  b.token_heads = json_int(json, "num_attention_heads", where);
  c.n_decoder_layers = json_int(json, "num_hidden_layers", where);
  if (b.token_decoder != TokenDecoder::cross_attention) {
    b.token_mlp_dim = json_int(json, "intermediate_size", where);
    return;
  }
  choose<bool>(json, "cls", where, {{"t5", true}});
  choose<bool>(json, "feed_forward_proj", where, {{"relu", true}});
  b.token_mlp_dim = json_int(json, "d_ff", where);
  b.token_bos_id = json_int(json, "bos_token_id", where);
  c.norm_eps = json_number(json, "layer_norm_epsilon", where);
  require_equal(json, "d_kv", static_cast<double>(b.token_dim) / static_cast<double>(b.token_heads), where);
  require_equal(json, "relative_attention_num_buckets", 32, where);
  require_equal(json, "relative_attention_max_distance", 128, where);
}

BlockTransformerModules modules_of(const ModelConfig& config) {
  return {config.block.embedder == BlockEmbedder::lookup, config.block.token_decoder == TokenDecoder::cross_attention};
}

BlockTransformerSource source_of(const Parameter& p, const ModelConfig& config) {
  BlockTransformerSource source = block_transformer_source(p.name(), modules_of(config));
  if (source.names.empty()) throw LogicError({.what = "parameter without a name of the authors'", .got = p.name()});
  return source;
}

// What one of our parameters is in a file of theirs; `kind`: "grad." or nothing.
Storage their_tensor(const SafetensorsFile& file, const std::string& kind, const Parameter& p,
                     const ModelConfig& config) {
  BlockTransformerSource source = source_of(p, config);
  std::vector<Tensor> tensors;
  for (const std::string& name : source.names) tensors.push_back(file.tensor(kind + name));
  bool of_blocks = p.name().starts_with("block_decoder.");
  int64_t heads = of_blocks ? config.n_heads : block_sizes(config).token_heads;
  return from_block_transformer(source, tensors, p.shape(), heads,
                                fmt::format("'{}' of {}", kind + source.names.front(), file.path().string()));
}

// The rows of a case as one batch, and where in the case's tensors each token and its prediction stand.
struct Rows {
  Batch batch;
  std::vector<int64_t> targets;  // [tokens] place of the next token in [rows, blocks - 1, length]; -1: it has no label
  std::vector<int64_t> blocks;   // of our blocks: number in [rows, blocks]
  // Where the hidden state that predicts the next token stands: in the case's [N, rows of a block], and in ours, where
  // a block has its leading rows, one of the pads before its tokens, and its tokens but the last slot's.
  std::vector<int64_t> predicted, predicting;
};

Rows rows_of(const GoldenCase& c, const SafetensorsFile& io) {
  std::string where = c.folder.string();
  Tensor ids = io.tensor("input_ids"), mask = io.tensor("attention_mask");
  BlockSizes sizes = block_sizes(c.config);
  bool fits = ids.shape.rank() == 3 && mask.shape == ids.shape && ids.elements() > 0 && ids.shape[2] == sizes.length &&
              ids.row_size() <= c.config.max_seq_len;
  if (!fits) {
    throw InputError({.what = "input_ids and attention_mask do not fit",
                      .where = where,
                      .got = fmt::format("{} and {}", ids.shape.text(), mask.shape.text()),
                      .expected = fmt::format("two int64 tensors [rows, blocks, {}]", sizes.length)});
  }
  std::vector<int32_t> all = golden_integers(ids, "input_ids", where);
  std::vector<int32_t> real = golden_integers(mask, "attention_mask", where);
  Rows out;
  out.batch.rows = ids.rows();
  out.batch.length = ids.row_size();
  out.batch.two_sided = true;
  WriterSide& side = out.batch.writer;
  int64_t length = out.batch.length, target_blocks = 0, our_rows = 0;
  for (int64_t row = 0; row < out.batch.rows; ++row) {
    auto begin = static_cast<int64_t>(side.ids.size());
    int64_t block = -1, last = -1;
    for (int64_t slot = 0; slot < length; ++slot) {
      if (real[static_cast<size_t>(row * length + slot)] == 0) continue;
      int32_t id = all[static_cast<size_t>(row * length + slot)];
      int64_t offset = slot % sizes.length;
      bool given = slot < sizes.length, first = static_cast<int64_t>(side.ids.size()) == begin;
      bool opens = slot / sizes.length != block;
      if (first && !given) {
        throw InputError({.what = "golden row that begins with a block of padding", .where = where});
      }
      if (opens) {
        block = slot / sizes.length;
        out.blocks.push_back(row * (length / sizes.length) + block);
        target_blocks += given ? 0 : 1;
      }
      if (!first) {
        if (!given) our_rows += opens ? sizes.leading + (offset > 0 ? 1 : 0) : 1;
        side.labels.push_back(given ? kIgnoreLabel : id);
        out.targets.push_back(given ? -1 : row * (length - sizes.length) + slot - sizes.length);
        int64_t place = sizes.leading - 1 + offset;
        out.predicted.push_back(given ? -1 : (target_blocks - 1) * sizes.token_rows() + place);
        out.predicting.push_back(given ? -1 : our_rows - 1);
      }
      side.ids.push_back(id);
      side.positions.push_back(static_cast<int32_t>(slot - sizes.first_pads));
      last = slot;
    }
    // What would follow the row's last token is predicted as well.
    if ((last + 1) % sizes.length == 0) {
      our_rows += sizes.leading;
    } else if (last >= sizes.length) {
      ++our_rows;
    }
    side.labels.push_back(kIgnoreLabel);
    for (auto* list : {&out.targets, &out.predicted, &out.predicting}) list->push_back(-1);
    side.blocks.push_back({{begin, static_cast<int64_t>(side.ids.size())}, {}});
  }
  return out;
}

// Rows of `stored`, seen as [.., columns of ours], beside rows of ours.
class RowComparison {
 public:
  RowComparison(const Tensor& ours, const Tensor& stored, const std::string& name) : ours_(ours), name_(name) {
    int64_t columns = ours.row_size();
    if (columns == 0 || stored.elements() % columns != 0) refuse(stored);
    stored_ = Tensor(stored.data, stored.dtype, {stored.elements() / columns, columns});
  }
  void compare(int64_t our_row, int64_t their_row) {
    if (our_row < 0 || their_row < 0) return;
    if (their_row >= stored_.rows()) refuse(stored_);
    worst = std::max(
        worst, worst_difference(ours_.slice_rows(our_row, our_row + 1), stored_.slice_rows(their_row, their_row + 1)));
  }
  double worst = 0;

 private:
  [[noreturn]] void refuse(const Tensor& stored) const {
    throw InputError({.what = "golden tensor of another size",
                      .where = name_,
                      .got = stored.shape.text(),
                      .expected = fmt::format("rows of {}", ours_.row_size())});
  }
  Tensor ours_, stored_;
  std::string name_;
};

// Compares what a training pass computes on the way with the case's activations.
class Activations {
 public:
  Activations(const SafetensorsFile& io, const Rows& rows, ParityCollector& out) : io_(io), rows_(rows), out_(out) {}

  void compare(const std::string& seen, const Tensor& value) {
    static const std::vector<std::pair<std::string, std::string>> names{
        {"hidden.enc_embed", "block_embeddings"},
        {"hidden.enc_norm", "block_decoder.final_layer_norm"},
        {"hidden.enc.", "block_decoder.layers."},
        {"hidden.dec_embed", "token_decoder.inputs_embeds"},
        {"hidden.out_norm", "token_decoder.final_layer_norm"},
        {"hidden.dec.", "token_decoder.layers."},
    };
    auto found = std::find_if(names.begin(), names.end(), [&](const auto& n) { return seen.starts_with(n.first); });
    if (found == names.end()) return;
    std::string name = found->second + seen.substr(found->first.size());
    if (!io_.contains(name)) return;
    RowComparison rows(value, io_.tensor(name), name);
    if (name.starts_with("block")) {
      for (size_t b = 0; b < rows_.blocks.size(); ++b) rows.compare(static_cast<int64_t>(b), rows_.blocks[b]);
    } else {
      for (size_t t = 0; t < rows_.predicted.size(); ++t) rows.compare(rows_.predicting[t], rows_.predicted[t]);
    }
    out_.add("activation", "absolute", name, rows.worst, std::nullopt);
  }

 private:
  const SafetensorsFile& io_;
  const Rows& rows_;
  ParityCollector& out_;
};

std::unique_ptr<Model> golden_model(const GoldenCase& c, const ModelConfig& config, const Precision& precision,
                                    ParameterStore::Gradients gradients) {
  std::unique_ptr<Model> model = make_model(config, precision, gradients, c.folder.string());
  load_golden_blocks(c.folder / "weights.safetensors", *model);
  return model;
}

// One prompt of gen.safetensors: its tokens, and the pads before them in the first block that holds one. Shorter
// prompts come with pads of their own; before these the authors put others, up to a whole number of blocks, which have
// RoBERTa's padding id where the embedder is one.
struct GoldenPrompt {
  std::vector<int32_t> ids;
  int64_t pads = 0;
  int64_t pad_id = -1;
};

GoldenPrompt prompt_of(const SafetensorsFile& gen, int64_t row, const BlockConfig& block, const std::string& where) {
  Tensor ids = gen.tensor("input_ids"), mask = gen.tensor("attention_mask");
  std::vector<int32_t> all = golden_integers(ids.slice_rows(row, row + 1), "input_ids", where);
  std::vector<int32_t> real = golden_integers(mask.slice_rows(row, row + 1), "attention_mask", where);
  GoldenPrompt prompt;
  size_t own = 0;  // pads
  while (own < all.size() && real.at(own) == 0) ++own;
  prompt.ids.assign(all.begin() + static_cast<int64_t>(own), all.end());
  auto count = static_cast<int64_t>(prompt.ids.size());
  // Blocks of padding alone are hidden from all others.
  prompt.pads = (block.length - count % block.length) % block.length;
  prompt.pad_id = own > 0 ? all[own - 1] : block.embedder_pad_id >= 0 ? block.embedder_pad_id : block.pad_id;
  if (count == 0 || (own > 0 && static_cast<int64_t>(own) < prompt.pads)) {
    throw InputError(
        {.what = "generation case with a prompt that is empty or behind pads of two kinds", .where = where});
  }
  return prompt;
}

class Generation {
 public:
  Generation(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge, ParityCollector& out)
      : ctx_(ctx),
        case_(c),
        precision_(precision),
        judge_(judge),
        out_(out),
        gen_(SafetensorsFile::open(c.folder / "gen.safetensors")) {}

  void check() {
    Tensor prompts = gen_.tensor("input_ids");
    if (prompts.shape.rank() != 2) {
      throw InputError({.what = "generation case without rows", .where = gen_.path().string()});
    }
    for (int64_t row = 0; row < prompts.rows(); ++row) {
      run("trainpos", row, TokenPositions::as_trained);
      run("authors", row, TokenPositions::as_published);
      run_to_eos(row);
    }
  }

 private:
  std::optional<double> judged(double tolerance) const { return judge_ ? std::optional(tolerance) : std::nullopt; }
  std::string where() const { return gen_.path().string(); }

  std::vector<int32_t> new_ids(const std::string& name, int64_t row) const {
    Tensor ids = gen_.tensor(name);
    int64_t prompt = gen_.tensor("input_ids").row_size();
    if (ids.shape.rank() != 2 || row >= ids.rows() || ids.row_size() <= prompt) {
      throw InputError({.what = "golden tensor of another size", .where = name, .got = ids.shape.text()});
    }
    std::vector<int32_t> all = golden_integers(ids.slice_rows(row, row + 1), name, where());
    return {all.begin() + prompt, all.end()};
  }

  std::unique_ptr<Model> model_for(const GoldenPrompt& prompt, TokenPositions positions) {
    ModelConfig config = case_.config;
    config.block.first_block_pads = prompt.pads;
    config.block.positions = positions;
    config.block.pad_id = prompt.pad_id;
    return golden_model(case_, config, precision_, ParameterStore::Gradients::none);
  }

  // Calls step(i, logits) for each of `count` steps; step gives the next id.
  template <class Step>
  void generate(const GoldenPrompt& prompt, Model& model, int64_t count, const Step& step) {
    Tape tape(ctx_, precision_, Tape::Mode::no_grad);
    auto state = model.new_state(static_cast<int64_t>(prompt.ids.size()) + count);
    writing_ = false;
    model.prefill(tape, *state, std::span(prompt.ids).first(prompt.ids.size() - 1));
    writing_ = true;
    Storage logits(DType::f32, {1, case_.config.vocab_size});
    std::span<float> row(logits.tensor().as<float>(), static_cast<size_t>(case_.config.vocab_size));
    int32_t id = prompt.ids.back();
    for (int64_t i = 0; i < count && id >= 0; ++i) {
      tape.reset();
      model.decode(tape, *state, id, row);
      id = step(i, logits.tensor(), static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    }
  }

  void run(const std::string& way, int64_t row, TokenPositions positions) {
    GoldenPrompt prompt = prompt_of(gen_, row, case_.config.block, where());
    std::vector<int32_t> expected = new_ids(way + ".output_ids", row);
    Tensor logits = gen_.tensor(way + ".step_logits"), states = gen_.tensor(way + ".block_states");
    auto steps = static_cast<int64_t>(expected.size());
    bool fits = logits.shape == Shape{gen_.tensor("input_ids").rows(), steps, case_.config.vocab_size} &&
                states.shape.rank() == 3 && states.shape[0] == logits.shape[0];
    if (!fits) throw InputError({.what = "golden tensor of another size", .where = way, .got = logits.shape.text()});
    int64_t block = 0;
    double wrong = 0, worst_logits = 0, worst_state = 0;
    std::unique_ptr<Model> model = model_for(prompt, positions);
    // Of the prompt only the last block's state is recorded: the one that the first written token asks for. The model
    // ends before what the observer refers to.
    model->observe([&](const std::string& seen, const Tensor& value) {
      if (seen != "hidden.enc_norm" || !writing_ || block >= states.shape[1]) return;
      RowComparison compared(value, states, way + ".block_states");
      compared.compare(value.rows() - 1, row * states.shape[1] + block++);
      worst_state = std::max(worst_state, compared.worst);
    });
    generate(prompt, *model, steps, [&](int64_t i, const Tensor& ours, int32_t best) {
      RowComparison compared(ours, logits, way + ".step_logits");
      compared.compare(0, row * steps + i);
      worst_logits = std::max(worst_logits, compared.worst);
      wrong += best != expected[static_cast<size_t>(i)];
      return expected[static_cast<size_t>(i)];
    });
    out_.add("gen_logits", "absolute", way + ".step_logits", worst_logits, judged(case_.tolerance.logits_abs));
    out_.add("block_states", "absolute", way + ".block_states", worst_state, std::nullopt);
    out_.add("generated_ids", "wrong ids", way + ".output_ids", wrong, judged(0.0));
  }

  // Up to the first EOS; what stands behind it only fills the authors' batch.
  void run_to_eos(int64_t row) {
    GoldenPrompt prompt = prompt_of(gen_, row, case_.config.block, where());
    int32_t eos = golden_integers(gen_.tensor("eos.eos_token_id"), "eos.eos_token_id", where()).at(0);
    std::vector<int32_t> expected = new_ids("eos.output_ids", row);
    std::unique_ptr<Model> model = model_for(prompt, TokenPositions::as_published);
    double wrong = 0;
    generate(prompt, *model, static_cast<int64_t>(expected.size()), [&](int64_t i, const Tensor&, int32_t best) {
      wrong += best != expected[static_cast<size_t>(i)];
      return best == eos ? -1 : expected[static_cast<size_t>(i)];
    });
    out_.add("generated_ids", "wrong ids", "eos.output_ids", wrong, judged(0.0));
  }

  Context& ctx_;
  const GoldenCase& case_;
  Precision precision_;
  bool judge_;
  ParityCollector& out_;
  SafetensorsFile gen_;
  bool writing_ = false;  // the prompt has been read
};

}  // namespace

bool is_golden_block_case(const Json& json) {
  return json.contains("tandem_arch") && json["tandem_arch"] == "block_transformer";
}

ModelConfig golden_block_config(const Json& json, const std::string& where) {
  ModelConfig c;
  c.arch = Arch::block_transformer;
  c.vocab_size = json_int(json, "vocab_size", where);
  c.max_seq_len = json_int(json, "max_length", where);
  c.bos_id = json_int(json, "bos_token_id", where);
  c.eos_id = json_int(json, "eos_token_id", where);
  c.activation = kernels::GeluKind::erf;
  c.rope_pairs = kernels::RopePairs::half_split;
  c.block.length = json_int(json, "block_length", where);
  c.block.pad_id = json_int(json, "pad_token_id", where);
  c.block.random_first_block = json_bool(json, "random_pad_first_block", where);
  c.block.pad_to_block_end = json_bool(json, "pad_to_block_boundary", where);
  const Json &blocks = json_at(json, "block_decoder", where), &tokens = json_at(json, "token_decoder", where);
  c.dim = json_int(blocks, "hidden_size", where);
  c.n_heads = json_int(blocks, "num_attention_heads", where);
  c.n_encoder_layers = json_int(blocks, "num_hidden_layers", where);
  c.mlp_dim = json_int(blocks, "intermediate_size", where);
  c.rope_base = json_number(blocks, "rotary_emb_base", where);
  c.output_norm_eps = json_number(blocks, "layer_norm_eps", where);
  c.block.rotary_fraction = json_number(blocks, "rotary_pct", where);
  require_flag(blocks, "attention_bias", true, where);
  read_embedder(json_at(json, "embedder", where), c, where);
  read_token_decoder(tokens, c, where);
  bool t5 = c.block.token_decoder == TokenDecoder::cross_attention;
  require_flag(json, "tie_word_embeddings", t5, where);
  c.validate(where);
  check_neox(blocks, c, block_sizes(c).rotary_features, where);
  if (!t5) check_neox(tokens, c, block_sizes(c).token_rotary_features, where);
  return c;
}

void load_golden_blocks(const fs::path& path, Model& model) {
  SafetensorsFile file = SafetensorsFile::open(path);
  std::set<std::string> used;
  for (Parameter& p : model.parameters().all()) {
    copy_convert(p.master(), their_tensor(file, "", p, model.config()).tensor());
    for (const std::string& name : source_of(p, model.config()).names) used.insert(name);
  }
  for (const std::string& name : file.names()) {
    if (used.count(name) || block_transformer_ignores(name)) continue;
    throw InputError({.what = "tensor that the model does not have", .where = path.string(), .got = name});
  }
  model.parameters().refresh_compute();
}

ParityReport check_blocks(Context& ctx, const GoldenCase& c, const Precision& precision, bool judge) {
  SafetensorsFile io = SafetensorsFile::open(c.folder / "io.safetensors");
  std::unique_ptr<Model> model = golden_model(c, c.config, precision, ParameterStore::Gradients::wanted);
  Rows rows = rows_of(c, io);
  ParityCollector out;
  auto judged = [&](double tolerance) { return judge ? std::optional(tolerance) : std::nullopt; };
  auto compare = [&](const std::string& name, const Tensor& ours, std::optional<double> tolerance) {
    RowComparison compared(ours, io.tensor(name), name);
    for (size_t t = 0; t < rows.targets.size(); ++t) compared.compare(static_cast<int64_t>(t), rows.targets[t]);
    out.add(name, "absolute", name, compared.worst, tolerance);
  };
  Tape tape(ctx, precision, Tape::Mode::record);
  compare("logits", model->all_logits(tape, rows.batch), judged(c.tolerance.logits_abs));
  tape.reset();
  Activations activations(io, rows, out);
  model->observe([&](const std::string& name, const Tensor& value) { activations.compare(name, value); });
  auto count = static_cast<int64_t>(rows.batch.loss_labels().size());
  Storage token_loss(precision.residual, {count, 1});
  ops::LossSum loss = model->loss(tape, rows.batch, false, token_loss.tensor());
  tape.backward();
  double tokens = static_cast<double>(std::max<int64_t>(loss.tokens, 1));
  out.add("loss", "absolute", "loss", std::abs(loss.sum / tokens - load_element(io.tensor("loss"), 0, 0)),
          judged(c.tolerance.loss_abs));
  compare("loss_per_token", token_loss.tensor(), std::nullopt);
  for (const Parameter& p : model->parameters().all()) {
    Storage theirs = their_tensor(io, "grad.", p, c.config);
    double error = relative_difference(p.grad(), theirs.tensor(), 1.0 / tokens, c.tolerance.grad_floor);
    out.add("gradient", "relative", "grad." + source_of(p, c.config).names.front(), error,
            judged(c.tolerance.grad_rel));
  }
  if (fs::exists(c.folder / "gen.safetensors")) Generation(ctx, c, precision, judge, out).check();
  return out.report();
}

}  // namespace tandem
