// For tsc alone, and not of uPlot: the module is taken as it is.
declare const uPlot: any;
export default uPlot;
