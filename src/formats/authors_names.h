// Parameter names of the double decoder's authors (github ashlab11/block-based-double-decoder, state_dict of
// Double_Decoder and DecoderOnlyModel) for ours. Layouts agree; only names differ.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// `separate_memory_kv`: the model projects the encoder's output by weights of its own (their shared_kv = false).
std::string authors_parameter_name(std::string_view ours, bool separate_memory_kv);

}  // namespace tandem
