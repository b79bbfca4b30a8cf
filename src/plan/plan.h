#pragma once
/// plan: what a job will need, before anything starts.
///
///   rules.h     what a job must obey once the model and the number of ranks are known
///   need.h      bytes of a rank by purpose, on a given machine
///   changes.h   where that is too much: the cheapest changes of the job that would fit
///   numbers.h   parameters and FLOPs
///   work.h      what a step has to do, part by part, and how fast that can be
///   traffic.h   what a step sends over each axis
///   timeline.h  a step on its pipeline, drawn
///   report.h    all of it for people
#include "plan/changes.h"
#include "plan/need.h"
#include "plan/numbers.h"
#include "plan/report.h"
#include "plan/rules.h"
#include "plan/timeline.h"
#include "plan/traffic.h"
#include "plan/work.h"
