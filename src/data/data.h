#pragma once
/// data: rows of text -> batches of tokens.
///
/// In the order a row passes them, with the chapters that each consists of below it:
///
///   rows/source.h           a file -> raw rows: where each begins and ends   (csv.h)
///     files.h               a folder or a pattern -> files
///     column_file.h share.h   parquet: row groups, shared by the ranks; arrow/: read by Apache Arrow
///   rows/row.h              raw row -> Row: messages and tools, or tokens, whatever form it was written in
///     columns.h response_form.h messages_form.h provider_forms.h preference.h token_row.h   the forms
///     message_text.h tools.h   contents, flags, tool schemas and calls
///     json.h json_dump.h python_literal.h python_text.h   values as Python reads and writes them
///   rows/dropped.h          why a row is left out, and how many were
///   template/template.h     how a model wants conversations written; automatic.h tells a model's own
///     turns.h thinking.h contexts.h   messages -> the template's words
///     loss_scale.h scale.h            which of them are trained, and how much
///   agent/agent.h           how tools, calls and results are written
///     hermes.h react.h glm.h llama.h deepseek.h qwen_coder.h   the ways
///   encode/settings.h       the job's [data] section with every name looked up
///   encode/encoder.h        Row -> Sample: token ids, labels, weights
///   tokenizer/tokenizer.h   text <-> token ids
///   store/encode_share.h    a rank's share of a file's rows, encoded by all its threads
///   store/sample_store.h    samples on disk, written by all ranks, mapped by all ranks
///   store/value_store.h     numbers of samples on disk
///   batch/sampling.h        which rows of which file, in which order: #N, validation, shuffle
///   batch/synthetic.h       rows of random tokens
///   batch/packing.h         samples -> packs of whole samples
///   batch/batches.h         the packs of an iteration, by rank
#include "data/batch/batches.h"
#include "data/batch/packing.h"
#include "data/batch/sampling.h"
#include "data/batch/synthetic.h"
#include "data/encode/encoder.h"
#include "data/encode/settings.h"
#include "data/rows/dropped.h"
#include "data/rows/files.h"
#include "data/rows/row.h"
#include "data/rows/source.h"
#include "data/store/encode_share.h"
#include "data/store/sample_store.h"
#include "data/template/automatic.h"
#include "data/template/template.h"
#include "data/tokenizer/config.h"
#include "data/tokenizer/tokenizer.h"
