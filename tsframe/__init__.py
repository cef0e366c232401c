"""A teacher-student framework: when is fitting the training data exactly harmless?

What flows::

    sweeps/NAME.py       a Python function from axis values to a Trial, and values of each axis
         |   plan        cells of the grid -> chunks that train well together
         v
    run  --joblib-->     train(trials of a chunk): one engine call  -->  commit the chunk
         |               spectrum, inputs, teacher, samples, students, training, measures
         v
    stores/NAME.zarr     one array a measure; its dims are the axes; opens with plain xarray
         |
         v
    analysis/NAME.py     reads the store, draws the figures

The rooms, each of which may import only what stands above it::

    checks      what counts as a number in a spec
    kept        what was drawn last, for whoever needs it next
    streams     random numbers keyed by seed and role, never by place
    spectra     eigenvalue laws: Isotropic, Sloppy, PowerLaw, Spiked, Measured, published recipes
    slopes      the slope of a measured spectrum, with its interval
    inputs      x with a given covariance spectrum, in its eigenbasis or rotated
    arrays      real data: rows of an array as inputs, with labels of their own
    balancing   biases that make classes equally likely
    teachers    functions that label: a network, a linear map; drawn from a seed, then frozen
    corruptions what randomization tests do to labeled inputs: shuffled, or Gaussian instead
    samples     the train and test arrays of one task, label noise included
    augmentations what may be done to training inputs at every step without a change of their law
    theory/     exact predictions: ridge, random features, ranks, kernels, dynamics, bounds
    students/   networks, stacks of them, one built to memorize; linear, random features, kernels
    training/   the batched engine: optimizers, stopping rules; graphs, residents, GPU kernels
    tasks       what both ways to find students need of a trial, and its samples
    measures/   errors, norms and curvature of a stack; measures that a trial may ask for
    batch       draw, seat, train and measure the students of one stack
    ahead       the data of a stack drawn side by side, and before a GPU needs them
    solving/    students that are solved exactly: least norm, ridge, kernel ridge
    together    one engine call for trials of any kind, split into jobs
    costs       what trials cost in work and memory
    trial       Trial: every number that decides a result; train(trials) -> xarray.Dataset
    perceptron/ the binary perceptron: all its solutions, their clusters; a trial of its own
    completion/ another kind of trial: matrices filled in by deep linear networks, or convexly
    --- below this line nothing knows torch ---
    axes        what may be a value on an axis
    selection   some cells of a sweep, by values on its axes or by a mask
    chunks      the grid of cells and its blocks
    buckets     what is in an object store, named as files are (alone imports obstore)
    places      in a folder or a bucket: to write once, to write over, to show life
    disk        what a disk may refuse, and how often it is asked again
    ledger      the state of every cell, and the digest that vouches for it
    origins     by what the numbers of a run were made, as far as it may change bits
    merging     what a commit writes: rows merged into what a chunk holds by now
    provenance  where results come from: versions, commit, host; files that are written once
    contract    what a sweep asks of its trials
    sweep       Sweep: a function and its labeled domain
    spec        what a store remembers of its sweep, and how another one fits into it
    forms       what a store is like: its attributes and the form of each array, in plain JSON
    layout      what a store is on disk (imports zarr)
    growth      more values on any axis, more measures; what is there stays to the bit
    store       the zarr store of a sweep: created whole, committed chunk by chunk
    rows        from an engine call to rows of the store; failures isolated
    opening     open_store: a store as a Dataset, with what is not settled masked
    findings    what verifying a store found
    repeating   trains cells again, and tells damage from what another engine wrote
    verification  looks for damage, level by level, up to training cells again
    packing     a copy to publish: few checksummed objects (imports zarr)
    watching    progress, live or in a quiet log
    forecast    time and memory of a run, from the work of its trials and the speed of the machine
    plan        cells -> chunks; what a run will take, before it runs
    workers/    who trains: crews, marks of what is in hand, signals (alone imports joblib)
    repairing   mends what verifying finds; never makes a cell done
    standing    status: how a store stands, seen from outside
    execution   run what is missing
    phases/     phases and phase boundaries from a store: xarray in, xarray out
    ranking     which measure predicts the test error best, and where it fails: xarray in and out
    plots/      phase_diagram and its siblings: xarray in, matplotlib Axes out
    commands    what the command line does
    refining    what tsframe refine does: more students where a boundary is uncertain
    upkeep      verify, repair and pack on the command line
    cli         tsframe plan | run | refine | status | verify | repair | pack

Names are loaded when they are first used, so that the command line answers at once and the science
half works where zarr and joblib are missing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
