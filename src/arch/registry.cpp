// The only file that names every architecture.
#include "arch/block_transformer.h"
#include "arch/decoder.h"
#include "arch/double_decoder.h"
#include "arch/encoder_decoder.h"
#include "arch/model.h"
#include "arch/yoco.h"

namespace tandem {

std::unique_ptr<Model> make_model(const ModelConfig& config, const Precision& precision,
                                  ParameterStore::Gradients gradients, const std::string& where) {
  config.validate(where);
  switch (config.arch) {
    case Arch::decoder: return std::make_unique<Decoder>(config, precision, gradients);
    case Arch::double_decoder: return std::make_unique<DoubleDecoder>(config, precision, gradients);
    case Arch::encoder_decoder: return std::make_unique<EncoderDecoder>(config, precision, gradients);
    case Arch::yoco: return std::make_unique<Yoco>(config, precision, gradients);
    case Arch::block_transformer: return std::make_unique<BlockTransformer>(config, precision, gradients);
  }
  return nullptr;
}

}  // namespace tandem
