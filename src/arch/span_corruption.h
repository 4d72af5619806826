// Span corruption (Raffel et al. 2020, section 3.1.4), as github ashlab11/block-based-double-decoder does it
// (collators/encoder_decoder/pretrain.py).
#pragma once

#include "arch/config.h"
#include "base/rng.h"
#include "text/batch.h"

namespace tandem {

// Chooses the stretches of every text of the batch that are to be replaced: batch.spans, ascending, apart from each
// other. Of n ordinary tokens (neither BOS nor EOS), m = round(noise_density * n) are wanted, in
// round(m / mean_span_length) stretches, at least one each; halves round to even. Stretches begin at different ordinary
// tokens, uniform without replacement, and are max(1, Poisson(mean_span_length)) long, cut at the next special token
// and once m tokens are covered; what overlaps or touches is one stretch. Stretches that the batch has already are
// checked and kept.
void draw_spans(Batch& batch, const ModelConfig& config, Rng& rng);

// The encoder reads each text with one sentinel in place of each stretch; the decoder writes BOS, then sentinel and
// stretch by turns; labels are what it writes next, EOS at the end. Sentinels count up from sentinel_start in each
// text. Both sides begin at position 0 and are cut at max_seq_len. Padding is left out.
void lay_out_spans(Batch& batch, const ModelConfig& config);

}  // namespace tandem
