// Names in other projects' checkpoints for our parameters and activations: those of the double decoder's authors
// (github ashlab11/block-based-double-decoder, state_dict of Double_Decoder, StandardEncDec and DecoderOnlyModel), of
// YOCO's (github microsoft/unilm, folder YOCO) and of Mu's (github microsoft/encoder-decoder-slm, state_dict of Mu).
// Layouts agree, but for the order of Mu's query heads (formats/head_order.h); names differ, and some of our matrices
// and biases are several of theirs, one below the other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

enum class AuthorsModel {
  double_decoder,              // also their DecoderOnlyModel, whose names are among these
  double_decoder_separate_kv,  // projects the encoder's output by weights of its own (their shared_kv = false)
  encoder_decoder,
  yoco,
  mu,
};

// The parameters whose rows, in this order, are those of ours.
std::vector<std::string> authors_parameter_names(std::string_view ours, AuthorsModel model);

// What the authors' records call an activation that a model shows its observer.
std::string authors_activation_name(std::string_view ours, AuthorsModel model);

}  // namespace tandem
