"""What all recipes share; the other files in this folder load it and say what differs.

Variants (`configs/base.py:VARIANT`): words with "_" between them.
  lowpass     adds how recordings are made narrow.
  codec       adds the codec whose output, or whose tokens, systems get.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    if set(words) - {"lowpass", "codec"}:
        raise ValueError(f"unknown variant {variant!r}; words are lowpass, codec")
    config = ConfigDict({"system": {}})

    config.objective = ConfigDict()
    config.objective.name = "gan"
    # "hinge" or "least_squares"
    config.objective.adversarial = "hinge"
    # over sub-discriminators and their feature maps: "mean" or "sum"
    config.objective.reduction = "mean"
    # name -> {"weight": w, and the loss's own settings}
    config.objective.losses = ConfigDict()
    # name -> its network's settings, and weight: of the critic's own loss; adversarial,
    # feature_matching: in the generator's
    config.objective.critics = ConfigDict()
    # step from which critics train, and over how many more their weight rises to full
    config.objective.adversarial_from = 0
    config.objective.ramp_steps = 0
    # with init_from: the generator stands still for so many steps while fresh critics catch up
    config.objective.critics_alone_steps = 0
    # with critics, the generator takes its turn in every so many steps
    config.objective.generator_every = 1
    # EnCodec's balancer: {"shares": {loss: share}, "total_norm": 1.0, "ema_decay": 0.999}
    config.objective.balancer = ConfigDict()

    # for every parameter group; an entry with a group's name ("generator", "mpd") replaces it
    config.optimizers = ConfigDict(
        {
            "default": {
                "learning_rate": 2e-4,
                "betas": (0.8, 0.99),
                "weight_decay": 0.01,
                "clip_norm": 10.0,
                "warmup_steps": 0,
                # factor on the rate, and after how many steps it is applied again
                "decay": 0.999996,
                "decay_every": 1,
                # (regular expression over parameter paths, factor on the rate) pairs; 0.0 freezes
                "rates": (),
            }
        }
    )

    config.data = ConfigDict()
    # a folder, a .txt list or a .jsonl manifest
    config.data.path = ""
    # the same for validation; if empty, speakers are held out of data.path
    config.data.valid_path = ""
    # a regular expression that finds the speaker in a file's path below data.path, by its group
    # "speaker" or its first; "" knows usual names, else takes the folder, or what is before a _
    config.data.speaker_pattern = ""
    config.data.valid_share = 0.1
    # of the output
    config.data.segment_samples = 24_000
    config.data.balance_speakers = True
    # "measure" every file, or trust the "manifest"
    config.data.bandwidth = "measure"
    # least real bandwidth; 0 takes half of the output's band
    config.data.min_bandwidth_hz = 0.0
    config.data.min_seconds = 0.0
    config.data.max_seconds = 3600.0
    config.data.max_wer = 1.0
    config.data.max_cer = 1.0
    config.data.speakers = ()
    # processes that read; 0 uses threads of the main one
    config.data.workers = 0
    if "lowpass" in words:
        # filters that recordings pass, one drawn for each
        config.data.lowpass = ("hann24",)
        config.data.gain_db = (0.0, 0.0)
        # with hifi_gan_bwe: rates in Hz that the input may have, one drawn for each
        config.data.source_rates = ()
    if "codec" in words:
        # "lowpass": band-limited recordings; "codec_online", "codec_cached": a codec's own output
        # or tokens, made in the step or by `codecbwe cache`
        config.data.input = "codec_online"
        # folder of the codec, what it computes in, and the stretch that it encodes at once
        config.data.codec = ""
        config.data.codec_dtype = "bfloat16"
        config.data.chunk_seconds = 4.0
        config.data.cache = ""

    config.train = ConfigDict()
    config.train.seed = 1234
    config.train.steps = 400_000
    config.train.batch_size = 16
    config.train.micro_batches = 1
    config.train.log_every = 100
    # of the generator's moving average, which is then what is evaluated and exported; 0: none
    config.train.ema_decay = 0.999
    # a converted, exported or work folder whose generator to start from
    config.train.init_from = ""
    config.train.max_skipped_in_row = 20
    # "pmap" or "shard_map"
    config.train.mapping = "pmap"
    # each device keeps its part of Adam's moments alone: less memory, one more exchange
    config.train.share_optimizer = False

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 5000
    config.checkpoint.keep_last = 2
    # a figure of an evaluator whose best checkpoint is kept too
    config.checkpoint.best = "valid/lsd"
    config.checkpoint.best_is = "min"
    # saves in a row that may fail (a full disk, a bucket out of reach) before the run gives up
    config.checkpoint.max_failed = 3

    config.profile = ConfigDict()
    # "100-105": a trace of these steps for TensorBoard's profiler
    config.profile.steps = ""

    config.evaluators = ConfigDict(
        {"valid": {"type": "extension", "every": 5000, "clips": 16, "seconds": 4.0, "media": 3}}
    )
    return config
