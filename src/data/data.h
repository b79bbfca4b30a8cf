#pragma once
/// data: rows of text -> batches of tokens.
///
/// In the order a row passes them:
///
///   rows/source.h         a file -> raw rows: where each begins and ends
///   rows/row.h            raw row -> Row: messages and tools, or tokens, whatever form it was written in
///   rows/dropped.h        why a row is left out, and how many were
///   template/template.h   how a model wants conversations written
///   encode/settings.h     the job's [data] section with every name looked up
///   encode/encoder.h      Row -> Sample: token ids, labels, weights
///   tokenizer/tokenizer.h text <-> token ids
///   store/sample_store.h  samples on disk, written by all ranks, mapped by all ranks
///   batch/sampling.h      which rows of which file, in which order: #N, validation, shuffle
///   batch/packing.h       samples -> packs of whole samples
///   batch/batches.h       the packs of an iteration, by rank
#include "data/batch/batches.h"
#include "data/batch/packing.h"
#include "data/batch/sampling.h"
#include "data/encode/encoder.h"
#include "data/encode/settings.h"
#include "data/rows/dropped.h"
#include "data/rows/row.h"
#include "data/rows/source.h"
#include "data/store/sample_store.h"
#include "data/template/template.h"
#include "data/tokenizer/config.h"
#include "data/tokenizer/tokenizer.h"
