#pragma once
/// checkpoint: the state of a training, or only a model, as one HDF5 file that any number of ranks writes
/// together and any other number reads.
///
///   /                      attributes: format, format_version, iteration, samples, seed, sequence,
///                          started_on, checksum
///   /parameters/<name>     whole logical tensors, under the names of the parameter table
///   /optimizer/master/<name>      the fp32 values of the parameters, where those are stored in less
///   /optimizer/exp_avg/<name>, /optimizer/exp_avg_sq/<name>     the same of the moments; absent in imports
///   /job                   the completed job file; absent in imports
///   /model/<file>          config.json, the tokenizer's files, ...: byte for byte
///   /checksums/tensors     the paths of all datasets above, one a line
///   /checksums/slabs       [slabs, 2 + 2 * 6]: dataset (line of the above), dims, begin and end of each dim
///   /checksums/xxh3        [slabs]: XXH3-64 of the slab's bytes; the slabs of a dataset cover it
///
/// The root's `checksum` is that of /checksums itself and is written last: a file without it was not
/// finished. Numbers are little-endian; bfloat16 is an HDF5 float type with bfloat16's fields.
///
/// Writing: rank 0 makes the datasets, all ranks write their slabs collectively, rank 0 adds the rest, all
/// ranks read every slab back and check it, rank 0 renames `<file>.partial` to `<file>`. Reading needs no
/// other rank: a slab is read as it was written, checked, and what is wanted of it is taken.
///
///   contents.h        what a file holds besides tensors
///   slabs.h           cutting, intersecting and walking places in a tensor
///   write.h           one file, collectively
///   reader.h          one file, by each rank on its own
///   shard_access.h    between files and this rank's shards
///   folder.h          the checkpoints of a run: save, keep N, the newest whole one
///   output_folder.h   is it there, writable, large enough, and ours alone
///   inspect.h         what is in a file, and is it whole
///   version.h         of the HDF5 library
#include "checkpoint/contents.h"
#include "checkpoint/folder.h"
#include "checkpoint/inspect.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/reader.h"
#include "checkpoint/shard_access.h"
#include "checkpoint/slabs.h"
#include "checkpoint/write.h"
