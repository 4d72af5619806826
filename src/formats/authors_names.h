// Parameter names of the double decoder's authors (github ashlab11/block-based-double-decoder, state_dict of
// Double_Decoder, StandardEncDec and DecoderOnlyModel) for ours. Layouts agree; only names differ.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

enum class AuthorsModel {
  double_decoder,              // also their DecoderOnlyModel, whose names are among these
  double_decoder_separate_kv,  // projects the encoder's output by weights of its own (their shared_kv = false)
  encoder_decoder,
};

std::string authors_parameter_name(std::string_view ours, AuthorsModel model);

}  // namespace tandem
